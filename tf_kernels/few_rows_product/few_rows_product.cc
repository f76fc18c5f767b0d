#include "few_rows_product/few_rows_product.h"

#include "common/isa.h"
#include "few_rows_product/few_rows_product_dispatch.h"

namespace kerasllm {

KERASLLM_DISPATCH(FewRowsProductKernels, few_rows_product_kernels)

void few_rows_product(const FewRowsProduct<float>& args, Parallel& parallel) {
  few_rows_product_kernels().float32(args, parallel);
}
void few_rows_product(const FewRowsProduct<bfloat16>& args, Parallel& parallel) {
  few_rows_product_kernels().bfloat16(args, parallel);
}

}  // namespace kerasllm
