#include "common/parallel.h"

#include <cstdlib>
#include <new>

namespace kerasllm {
namespace {
constexpr int64_t kCacheLine = 64;
}

int64_t Scratch::rounded(int64_t size_bytes) {
  return (size_bytes + kCacheLine - 1) / kCacheLine * kCacheLine;
}

Scratch::Scratch(int64_t size_bytes) {
  block_ = static_cast<char*>(std::aligned_alloc(kCacheLine, rounded(size_bytes) + kCacheLine));
  if (block_ == nullptr) throw std::bad_alloc();
  next_ = block_;
}

Scratch::~Scratch() { std::free(block_); }

void* Scratch::take(int64_t size_bytes) {
  char* const piece = next_;
  next_ += rounded(size_bytes);
  return piece;
}

}  // namespace kerasllm
