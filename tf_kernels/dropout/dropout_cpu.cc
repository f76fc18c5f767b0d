// Dropout: 128 columns of a row at a time, as many as the random numbers come in.
#include "common/random.h"
#include "dropout/dropout_dispatch.h"

namespace kerasllm {
namespace KERASLLM_ISA {
namespace {

template <class T>
void drop(const DropoutArgs<T>& args, Parallel& parallel) {
  constexpr int64_t kTaskElements = 64 * 1024;
  const int64_t blocks = ceil_div(args.columns, kRandomColumns);  // a row
  const int64_t task_blocks = kTaskElements / kRandomColumns, all = args.rows * blocks;
  parallel.for_each(ceil_div(all, task_blocks), [&](int64_t task) {
    const int64_t end = min_of(all, (task + 1) * task_blocks);
    for (int64_t block = task * task_blocks; block < end; ++block) {
      const int64_t row = block / blocks, column = block % blocks * kRandomColumns;
      uint16_t bits[kRandomColumns];
      random_bits(args.dropout.seed, static_cast<uint64_t>(row), column, bits);
      const int64_t count = min_of(kRandomColumns, args.columns - column);
      const T* const from = args.inputs + row * args.columns + column;
      T* const to = args.outputs + row * args.columns + column;
      for (int64_t i = 0; i < count; i += kLanes) {
        const Vec kept = load_first(from + i, count - i) * dropout_factors(bits + i, args.dropout);
        store_first(to + i, kept, count - i);
      }
    }
  });
}

}  // namespace

extern const DropoutKernels dropout_kernels = {&drop<float>, &drop<bfloat16>};

}  // namespace KERASLLM_ISA
}  // namespace kerasllm
