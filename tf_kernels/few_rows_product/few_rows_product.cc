#include "few_rows_product/few_rows_product.h"

#include "common/isa.h"
#include "few_rows_product/few_rows_product_dispatch.h"

namespace kerasllm {

KERASLLM_DISPATCH(FewRowsProductKernels, few_rows_product_kernels)

void few_rows_products(const FewRowsProduct<float>* args, int64_t count, Parallel& parallel) {
  few_rows_product_kernels().float32(args, count, parallel);
}
void few_rows_products(const FewRowsProduct<bfloat16>* args, int64_t count, Parallel& parallel) {
  few_rows_product_kernels().bfloat16(args, count, parallel);
}

}  // namespace kerasllm
