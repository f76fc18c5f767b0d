// The sizes of the products, and how the operands enter them.
//
// The logits are made transposed, vocabulary by rows: the kernel enters as it lies, its rows being
// the rows of the product, and only the few hidden states of a chunk are packed into panels. The
// statistics of a row then run down a lane of vectors, without any sum across lanes.
#ifndef KERASLLM_LINEAR_CROSS_ENTROPY_LINEAR_CROSS_ENTROPY_PACK_H_
#define KERASLLM_LINEAR_CROSS_ENTROPY_LINEAR_CROSS_ENTROPY_PACK_H_

#include "common/packing.h"
#include "linear_cross_entropy/linear_cross_entropy.h"

namespace kerasllm {
namespace KERASLLM_ISA {

// Classes that are worked on together; one block of transposed_product.
inline constexpr int64_t kGroup = 128;
static_assert(TransposedBlock<float>::kDepth == kGroup &&
                  TransposedBlock<bfloat16>::kDepth == kGroup,
              "a group is one block of the transposed product");

// All sizes follow from the shape alone, never from the number of threads.
template <class T>
struct LinearCrossEntropySizes {
  LinearCrossEntropySizes(const LinearCrossEntropyInputs<T>& in, int64_t active, bool gradients)
      : active_rows(active),
        depth(padded_depth<Operand<T>>(in.dim)),
        column_panels(ceil_div(in.dim, kPanel)),
        groups(ceil_div(in.vocabulary, kGroup)),
        slots(min_of(kMostSlots, groups)) {
    // With gradients the logits of a chunk stay in the last cache level where they can; yet a chunk
    // must not be so short that the kernel's gradient is read and written for a few rows only.
    const int64_t rows_in_cache = kBlockBytes / (4 * max_of<int64_t>(1, in.vocabulary));
    const int64_t most =
        gradients ? max_of(kFewestRows, min_of(kMostRows, rows_in_cache / 64 * 64)) : kMostRows;
    chunks = ceil_div(active, most);
    chunk_rows = chunks == 0 ? 0 : round_up(ceil_div(active, chunks), kPanel);
    // The threads' start costs more than a product below this.
    constexpr int64_t kWorthThreads = 1 << 20;
    threads_pay = active * (in.dim + 16) * in.vocabulary >= kWorthThreads;
  }
  static constexpr int64_t kBlockBytes = 24 << 20, kFewestRows = 256, kMostRows = 1024;
  static constexpr int64_t kMostSlots = 16;

  int64_t active_rows;    // rows whose label counts
  int64_t depth;          // dim, padded as an operand
  int64_t column_panels;  // of dim
  int64_t groups;         // of classes
  int64_t slots;          // the hidden states' gradient is summed over this many runs of groups
  int64_t chunks, chunk_rows;
  bool threads_pay;
};

template <class Body>
inline void for_each_task(Parallel& parallel, bool threads_pay, int64_t tasks, const Body& body) {
  if (threads_pay) {
    parallel.for_each(tasks, body);
  } else {
    for (int64_t task = 0; task < tasks; ++task) body(task);
  }
}

}  // namespace KERASLLM_ISA
}  // namespace kerasllm

#endif  // KERASLLM_LINEAR_CROSS_ENTROPY_LINEAR_CROSS_ENTROPY_PACK_H_
