// The table through which few_rows_product.cc reaches the compute code of the instruction set in
// use.
#ifndef KERASLLM_FEW_ROWS_PRODUCT_FEW_ROWS_PRODUCT_DISPATCH_H_
#define KERASLLM_FEW_ROWS_PRODUCT_FEW_ROWS_PRODUCT_DISPATCH_H_

#include "few_rows_product/few_rows_product.h"

namespace kerasllm {

struct FewRowsProductKernels {
  void (*float32)(const FewRowsProduct<float>*, int64_t, Parallel&);
  void (*bfloat16)(const FewRowsProduct<kerasllm::bfloat16>*, int64_t, Parallel&);
};

}  // namespace kerasllm

#endif  // KERASLLM_FEW_ROWS_PRODUCT_FEW_ROWS_PRODUCT_DISPATCH_H_
