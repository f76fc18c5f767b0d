// The outputs, some tokens a task. Rows of the token table lie anywhere in memory, so those of the
// tokens to come are asked for ahead.
#include "common/vec.h"
#include "embedding/embedding_dispatch.h"

namespace kerasllm {
namespace KERASLLM_ISA {
namespace {

constexpr int64_t kTaskBytes = 128 * 1024;
constexpr int64_t kTokensAhead = 4;
constexpr int64_t kCacheLine = 64;

template <class T, class U>
void forward(const EmbeddingForward<T, U>& args, Parallel& parallel) {
  const EmbeddingLookup& lookup = args.lookup;
  const int64_t dim = lookup.dim, tokens = lookup.batch * lookup.time;
  if (dim == 0) return;
  const int64_t row_bytes = dim * static_cast<int64_t>(sizeof(T));
  const int64_t task_tokens = max_of<int64_t>(1, kTaskBytes / row_bytes);
  parallel.for_each(ceil_div(tokens, task_tokens), [&](int64_t task) {
    const int64_t end = min_of(tokens, (task + 1) * task_tokens);
    for (int64_t token = task * task_tokens; token < end; ++token) {
      const int64_t ahead = min_of(token + kTokensAhead, tokens - 1);
      const char* const next =
          reinterpret_cast<const char*>(args.token_embeddings + lookup.token_ids[ahead] * dim);
      for (int64_t byte = 0; byte < row_bytes; byte += kCacheLine) {
        __builtin_prefetch(next + byte);
      }
      const T* const token_row = args.token_embeddings + lookup.token_ids[token] * dim;
      const T* const position_row =
          args.position_embeddings == nullptr
              ? nullptr
              : args.position_embeddings + (lookup.start + token % lookup.time) * dim;
      const T* const segment_row = lookup.segment_ids == nullptr
                                       ? nullptr
                                       : args.segment_embeddings + lookup.segment_ids[token] * dim;
      U* const output = args.outputs + token * dim;
      for (int64_t i = 0; i < dim; i += kLanes) {
        Vec sum = load_first(token_row + i, dim - i);
        if (position_row != nullptr) sum += load_first(position_row + i, dim - i);
        if (segment_row != nullptr) sum += load_first(segment_row + i, dim - i);
        store_first(output + i, sum, dim - i);
      }
    }
  });
}

}  // namespace

extern const EmbeddingForwardKernels embedding_forward_kernels = {
    &forward<float, float>, &forward<float, bfloat16>, &forward<bfloat16, float>,
    &forward<bfloat16, bfloat16>};

}  // namespace KERASLLM_ISA
}  // namespace kerasllm
