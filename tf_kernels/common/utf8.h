// UTF-8, with one policy for what is none: each maximal part of a sequence that cannot be completed
// is one U+FFFD (Unicode's recommended practice, Python's errors="replace").
#ifndef KERASLLM_COMMON_UTF8_H_
#define KERASLLM_COMMON_UTF8_H_

#include <cstdint>

namespace kerasllm {

inline constexpr uint32_t kReplacementCharacter = 0xFFFD;

// Decodes the character at `p`, which lies before `end`; returns how many bytes it takes.
inline int decode_utf8(const unsigned char* p, const unsigned char* end, uint32_t* code) {
  const uint32_t lead = p[0];
  if (lead < 0x80) {
    *code = lead;
    return 1;
  }
  const auto left = end - p;
  const auto continues = [&](int i) { return left > i && (p[i] & 0xC0) == 0x80; };
  *code = kReplacementCharacter;
  if (lead >= 0xE0 && lead < 0xF0) {
    // No overlong forms below 0x800, no surrogates.
    const uint32_t low = lead == 0xE0 ? 0xA0 : 0x80, high = lead == 0xED ? 0x9F : 0xBF;
    if (!continues(1) || p[1] < low || p[1] > high) return 1;
    if (!continues(2)) return 2;
    *code = (lead & 0x0F) << 12 | (p[1] & 0x3Fu) << 6 | (p[2] & 0x3Fu);
    return 3;
  }
  if (lead >= 0xC2 && lead < 0xE0) {
    if (!continues(1)) return 1;
    *code = (lead & 0x1F) << 6 | (p[1] & 0x3Fu);
    return 2;
  }
  if (lead >= 0xF0 && lead < 0xF5) {
    // No overlong forms below 0x10000, nothing above 0x10FFFF.
    const uint32_t low = lead == 0xF0 ? 0x90 : 0x80, high = lead == 0xF4 ? 0x8F : 0xBF;
    if (!continues(1) || p[1] < low || p[1] > high) return 1;
    if (!continues(2)) return 2;
    if (!continues(3)) return 3;
    *code = (lead & 0x07) << 18 | (p[1] & 0x3Fu) << 12 | (p[2] & 0x3Fu) << 6 | (p[3] & 0x3Fu);
    return 4;
  }
  return 1;
}

// Appends the UTF-8 of a code point that is no surrogate.
template <class String>
void append_utf8(uint32_t code, String* to) {
  char bytes[4];
  int size = 0;
  if (code < 0x80) {
    bytes[size++] = static_cast<char>(code);
  } else {
    if (code < 0x800) {
      bytes[size++] = static_cast<char>(0xC0 | code >> 6);
    } else {
      if (code < 0x10000) {
        bytes[size++] = static_cast<char>(0xE0 | code >> 12);
      } else {
        bytes[size++] = static_cast<char>(0xF0 | code >> 18);
        bytes[size++] = static_cast<char>(0x80 | (code >> 12 & 0x3F));
      }
      bytes[size++] = static_cast<char>(0x80 | (code >> 6 & 0x3F));
    }
    bytes[size++] = static_cast<char>(0x80 | (code & 0x3F));
  }
  to->append(bytes, static_cast<size_t>(size));
}

}  // namespace kerasllm

#endif  // KERASLLM_COMMON_UTF8_H_
