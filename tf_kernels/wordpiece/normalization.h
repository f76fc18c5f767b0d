// What BERT does to single code points, and canonical ordering where it cannot be done one by one.
#ifndef KERASLLM_WORDPIECE_NORMALIZATION_H_
#define KERASLLM_WORDPIECE_NORMALIZATION_H_

#include <cstdint>
#include <vector>

namespace kerasllm {

bool is_removed(uint32_t code);
bool is_space(uint32_t code);
bool is_punctuation(uint32_t code);
bool is_nonspacing(uint32_t code);
int combining_class(uint32_t code);

// The blocks that BERT calls Chinese, as `tokenizers` has them: without U+2B820 to U+2B91F.
struct CjkBlock {
  uint32_t first, last;
};
inline constexpr CjkBlock kCjkBlocks[] = {
    {0x3400, 0x4DBF},   {0x4E00, 0x9FFF},   {0xF900, 0xFAFF},   {0x20000, 0x2A6DF},
    {0x2A700, 0x2B81F}, {0x2B920, 0x2CEAF}, {0x2F800, 0x2FA1F},
};
bool is_cjk(uint32_t code);

// Appends the full canonical decomposition of a code point, or the code point itself.
void append_decomposition(uint32_t code, std::vector<uint32_t>* to);

// Appends the lower case of a code point, one or two of them.
void append_lowercase(uint32_t code, std::vector<uint32_t>* to);

// Decomposition, nonspacing marks dropped, lower case: each where asked for.
std::vector<uint32_t> normalize_character(uint32_t code, bool strip_accents, bool lowercase);

// Every code point that `normalize_character` may change, and every one that ordering may move.
std::vector<uint32_t> changing_characters();

// A character and the bytes of the text that it stands for.
struct SourcedCharacter {
  uint32_t code;
  int64_t start, end;
};

// Canonical decomposition and ordering of a text, nonspacing marks dropped. As in `tokenizers`, a
// character that changes its place among others takes the bytes of its new place.
std::vector<SourcedCharacter> strip_accents_in_order(const std::vector<SourcedCharacter>& text);

}  // namespace kerasllm

#endif  // KERASLLM_WORDPIECE_NORMALIZATION_H_
