// Writing tensors that are larger than the caches past them. A store first reads the line that it
// writes to, and drives out another one that may still be in use; a streamed one does neither.
#ifndef KERASLLM_COMMON_STREAMING_H_
#define KERASLLM_COMMON_STREAMING_H_

#include "common/vec.h"

namespace kerasllm {
namespace KERASLLM_ISA {

// Whether a tensor of rows is to be streamed: it is large, and all of its vectors lie at whole
// ones. Not for results in the place of operands, whose lines are in the cache already.
template <class T>
inline bool worth_streaming(const T* data, int64_t rows, int64_t dim) {
  constexpr int64_t kLeastBytes = 16 << 20;
  return rows * dim * static_cast<int64_t>(sizeof(T)) >= kLeastBytes &&
         reinterpret_cast<uintptr_t>(data) % kVecBytes == 0 && dim % kLanes == 0;
}

// The same where little is computed between: bfloat16 vectors, half as wide as a line, are stored
// faster than streamed then.
template <class T>
inline bool worth_streaming_at_once(const T* data, int64_t rows, int64_t dim) {
  return sizeof(T) == 4 && worth_streaming(data, rows, dim);
}

// Past the caches; `p` is aligned as above. stream_end() comes before another thread reads.
inline void stream(float* p, Vec v) {
#if defined(__AVX512F__)
  _mm512_stream_ps(p, reinterpret_cast<__m512>(v));
#elif defined(__AVX2__) && !defined(KERASLLM_AMX)
  _mm256_stream_ps(p, reinterpret_cast<__m256>(v));
#else
  store(p, v);
#endif
}
inline void stream(bfloat16* p, Vec v) {
#if defined(__AVX512F__)
  _mm256_stream_si256(reinterpret_cast<__m256i*>(p), reinterpret_cast<__m256i>(to_bfloat16(v)));
#else
  store(p, v);
#endif
}
inline void stream_end() {
#ifdef __SSE2__
  _mm_sfence();
#endif
}

template <class T>
inline __attribute__((always_inline)) void stream_or_store_first(bool streams, T* p, Vec v,
                                                                 int64_t count) {
  if (streams && count >= kLanes) {
    stream(p, v);
  } else {
    store_first(p, v, count);
  }
}

}  // namespace KERASLLM_ISA
}  // namespace kerasllm

#endif  // KERASLLM_COMMON_STREAMING_H_
