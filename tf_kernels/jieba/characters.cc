#include "jieba/characters.h"

namespace kerasllm::jieba {
namespace {

inline bool continues(unsigned char byte) { return (byte & 0xC0) == 0x80; }

// The character at `p` and the number of its bytes, of which at least one is there. A wrong one has
// the length of its beginning that could still have become a character.
struct Decoded {
  char32_t character;
  int length;
};

Decoded decode_one(const unsigned char* p, int64_t left) {
  const unsigned char lead = p[0];
  if (lead < 0x80) return {lead, 1};
  if (lead < 0xC2 || lead > 0xF4) return {kReplacement, 1};
  if (left < 2) return {kReplacement, 1};
  if (lead < 0xE0) {
    if (!continues(p[1])) return {kReplacement, 1};
    return {static_cast<char32_t>((lead & 0x1F) << 6 | (p[1] & 0x3F)), 2};
  }
  // The second byte's range excludes what is longer than need be, surrogates, and what lies above
  // U+10FFFF.
  const unsigned char lowest = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
  const unsigned char highest = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
  if (p[1] < lowest || p[1] > highest) return {kReplacement, 1};
  if (left < 3 || !continues(p[2])) return {kReplacement, 2};
  if (lead < 0xF0) {
    return {static_cast<char32_t>((lead & 0x0F) << 12 | (p[1] & 0x3F) << 6 | (p[2] & 0x3F)), 3};
  }
  if (left < 4 || !continues(p[3])) return {kReplacement, 3};
  return {static_cast<char32_t>((lead & 0x07) << 18 | (p[1] & 0x3F) << 12 | (p[2] & 0x3F) << 6 |
                                (p[3] & 0x3F)),
          4};
}

}  // namespace

void decode_utf8(const char* bytes, int64_t size_bytes, std::vector<char32_t>* characters,
                 std::vector<int32_t>* starts) {
  characters->resize(size_bytes);
  starts->resize(size_bytes + 1);
  const auto* const text = reinterpret_cast<const unsigned char*>(bytes);
  int64_t count = 0;
  for (int64_t at = 0; at < size_bytes; ++count) {
    const Decoded decoded = decode_one(text + at, size_bytes - at);
    (*characters)[count] = decoded.character;
    (*starts)[count] = static_cast<int32_t>(at);
    at += decoded.length;
  }
  (*starts)[count] = static_cast<int32_t>(size_bytes);
  characters->resize(count);
  starts->resize(count + 1);
}

}  // namespace kerasllm::jieba
