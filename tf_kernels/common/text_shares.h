// Cuts the texts of a batch into shares for threads.
#ifndef KERASLLM_COMMON_TEXT_SHARES_H_
#define KERASLLM_COMMON_TEXT_SHARES_H_

#include <algorithm>
#include <cstdint>
#include <vector>

namespace kerasllm {

// The texts from `begin` up to `end`.
struct TextShare {
  int64_t begin, end;
};

// Shares of about the same number of bytes; few bytes are not worth a thread. `texts(i)` is a text.
template <class Texts>
std::vector<TextShare> share_texts(const Texts& texts, int64_t num_texts, int num_threads) {
  constexpr int64_t kLeastBytes = 1 << 13, kSharesPerThread = 4;
  int64_t total = 0;
  for (int64_t i = 0; i < num_texts; ++i) total += static_cast<int64_t>(texts(i).size());
  const int64_t enough = std::max(total / (kSharesPerThread * num_threads) + 1, kLeastBytes);
  std::vector<TextShare> shares;
  for (int64_t begin = 0; begin < num_texts;) {
    int64_t end = begin, size_bytes = 0;
    while (end < num_texts && size_bytes < enough) {
      size_bytes += static_cast<int64_t>(texts(end++).size());
    }
    shares.push_back({begin, end});
    begin = end;
  }
  return shares;
}

}  // namespace kerasllm

#endif  // KERASLLM_COMMON_TEXT_SHARES_H_
