#include "wordpiece/vocabulary_file.h"

#include "common/utf8.h"

namespace kerasllm {
namespace {

bool is_utf8(std::string_view text) {
  const auto* p = reinterpret_cast<const unsigned char*>(text.data());
  const auto* const end = p + text.size();
  while (p < end) {
    uint32_t code;
    const int length = decode_utf8(p, end, &code);
    if (code == kReplacementCharacter && (length != 3 || p[0] != 0xEF)) return false;
    p += length;
  }
  return true;
}

}  // namespace

std::string VocabularyFile::parse(std::string_view content) {
  if (content.substr(0, 3) == "\xEF\xBB\xBF") {
    return "the vocabulary begins with a byte order mark; save it as UTF-8 without one";
  }
  if (!content.empty() && content.back() == '\n') content.remove_suffix(1);
  if (content.empty()) return "the vocabulary is empty";
  for (size_t begin = 0; begin <= content.size();) {
    const size_t end = std::min(content.find('\n', begin), content.size());
    const std::string_view token = content.substr(begin, end - begin);
    const auto id = static_cast<int32_t>(tokens.size());
    const std::string line = "line " + std::to_string(id + 1) + " of the vocabulary ";
    if (token.empty()) return line + "is empty; every line is a token";
    if (token.back() == '\r') {
      return line + "ends with a carriage return; save it with Unix line ends";
    }
    if (!is_utf8(token)) return line + "is not UTF-8";
    const auto [found, is_new] = ids.emplace(token, id);
    if (!is_new) {
      return line + "repeats the token '" + std::string(token) + "' of line " +
             std::to_string(found->second + 1);
    }
    tokens.push_back(token);
    begin = end + 1;
  }
  return "";
}

}  // namespace kerasllm
