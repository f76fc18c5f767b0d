// The classes of characters that jieba's regular expressions tell apart, and UTF-8 in and out.
#ifndef KERASLLM_JIEBA_CHARACTERS_H_
#define KERASLLM_JIEBA_CHARACTERS_H_

#include <cstdint>
#include <vector>

namespace kerasllm::jieba {

// The Chinese characters of the hidden Markov model and of jieba's runs.
inline constexpr char32_t kFirstHan = 0x4E00, kLastHan = 0x9FD5;
inline constexpr char32_t kLastCharacter = 0x10FFFF;  // of Unicode
inline bool is_han(char32_t c) { return c - kFirstHan <= kLastHan - kFirstHan; }

inline bool is_digit(char32_t c) { return c - U'0' <= 9; }
// [a-zA-Z0-9]
inline bool is_latin_or_digit(char32_t c) { return (c | 0x20) - U'a' <= 25 || is_digit(c); }
// [\u4E00-\u9FD5a-zA-Z0-9+#&._%-]: what is cut into words; all else stands alone.
inline bool is_in_run(char32_t c) {
  return is_han(c) || is_latin_or_digit(c) || c == U'+' || c == U'#' || c == U'&' || c == U'.' ||
         c == U'_' || c == U'%' || c == U'-';
}
// What Python's \s matches in a str.
inline bool is_blank(char32_t c) {
  if (c < 0x80) return c == U' ' || c - 0x09 <= 4 || c - 0x1C <= 3;
  return c == 0x85 || c == 0xA0 || c == 0x1680 || c - 0x2000 <= 10 || c == 0x2028 || c == 0x2029 ||
         c == 0x202F || c == 0x205F || c == 0x3000;
}

// What stands for bytes that are no UTF-8.
inline constexpr char32_t kReplacement = 0xFFFD;

// Decodes UTF-8 as Python's bytes.decode("utf-8", "replace") does: each longest beginning of a
// character that goes wrong (The Unicode Standard, "U+FFFD substitution of maximal subparts")
// becomes one U+FFFD. `starts` gets the byte offset of each character, and `size_bytes` as its
// last element.
void decode_utf8(const char* bytes, int64_t size_bytes, std::vector<char32_t>* characters,
                 std::vector<int32_t>* starts);

}  // namespace kerasllm::jieba

#endif  // KERASLLM_JIEBA_CHARACTERS_H_
