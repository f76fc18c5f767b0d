// Tokens in the making: ids, and where each stands in its text.
#ifndef KERASLLM_WORDPIECE_TOKEN_BUFFER_H_
#define KERASLLM_WORDPIECE_TOKEN_BUFFER_H_

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>

namespace kerasllm {

// A vector does not serve: it sets to zero what is written next.
struct TokenBuffer {
  std::unique_ptr<int32_t[]> ids;
  std::unique_ptr<int64_t[]> starts, ends;  // only with offsets
  int64_t size = 0, capacity = 0;

  // Room for `count` more.
  void reserve(int64_t count, bool offsets) {
    if (size + count <= capacity) return;
    capacity = std::max(size + count, 2 * capacity);
    grow(&ids);
    if (offsets) {
      grow(&starts);
      grow(&ends);
    }
  }

 private:
  template <class T>
  void grow(std::unique_ptr<T[]>* array) const {
    std::unique_ptr<T[]> larger(new T[static_cast<size_t>(capacity)]);
    if (size > 0) std::memcpy(larger.get(), array->get(), static_cast<size_t>(size) * sizeof(T));
    *array = std::move(larger);
  }
};

}  // namespace kerasllm

#endif  // KERASLLM_WORDPIECE_TOKEN_BUFFER_H_
