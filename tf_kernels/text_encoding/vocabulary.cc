#include "text_encoding/vocabulary.h"

#include <utility>

#include "common/utf8.h"

namespace kerasllm::text_encoding {
namespace {

constexpr size_t kNone = std::string_view::npos;

// The character that an escape stands for, npos if it is none; *line loses what was read.
size_t read_escape(std::string_view* line) {
  static constexpr std::pair<char, char> kShort[] = {
      {'\\', '\\'}, {'n', '\n'}, {'r', '\r'}, {'t', '\t'}, {'s', ' '}};
  if (line->empty()) return kNone;
  const char kind = line->front();
  line->remove_prefix(1);
  for (const auto& [escape, character] : kShort) {
    if (kind == escape) return static_cast<size_t>(character);
  }
  const size_t num_digits = kind == 'u' ? 4 : kind == 'U' ? 8 : 0;
  if (num_digits == 0 || line->size() < num_digits) return kNone;
  size_t code = 0;
  for (size_t i = 0; i < num_digits; ++i) {
    const size_t digit = std::string_view("0123456789abcdef").find((*line)[i]);
    if (digit == kNone) return kNone;
    code = 16 * code + digit;
  }
  line->remove_prefix(num_digits);
  return code <= 0x10FFFF ? code : kNone;
}

// Appends what a line stands for. A half of a surrogate pair, which no text in UTF-8 holds, becomes
// bytes that no text holds either.
bool unescape(std::string_view line, std::string* to) {
  if (line == "\\e") return true;  // the empty token
  if (line.empty()) return false;
  while (!line.empty()) {
    const char character = line.front();
    line.remove_prefix(1);
    if (character != '\\') {
      to->push_back(character);
      continue;
    }
    const size_t code = read_escape(&line);
    if (code == kNone) return false;
    append_utf8(static_cast<uint32_t>(code), to);
  }
  return true;
}

}  // namespace

std::unique_ptr<const Vocabulary> Vocabulary::read(std::string_view content, std::string* problem) {
  constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";
  if (content.substr(0, kByteOrderMark.size()) == kByteOrderMark) {
    content.remove_prefix(kByteOrderMark.size());
  }
  auto tokens = std::make_unique<std::string>();
  tokens->reserve(content.size());  // no token is longer than its line
  std::vector<std::pair<size_t, size_t>> places;
  while (!content.empty()) {
    const size_t end = content.find('\n');
    const std::string number = std::to_string(places.size() + 1);
    if (end == kNone) {
      *problem = "line " + number + " ends without a newline, so the file was probably cut off";
      return nullptr;
    }
    std::string_view line = content.substr(0, end);
    content.remove_prefix(end + 1);
    if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
    const size_t begin = tokens->size();
    if (!unescape(line, tokens.get())) {
      *problem = "line " + number + " is no token: a backslash is written \\\\, no token \\e";
      return nullptr;
    }
    places.emplace_back(begin, tokens->size() - begin);
  }
  if (places.size() < 2) {
    *problem = "it has " + std::to_string(places.size()) +
               " tokens, expected two special ones, padding and unknown, and more";
    return nullptr;
  }
  std::unique_ptr<Vocabulary> result(new Vocabulary(std::move(tokens)));
  result->ids_.reserve(places.size());
  for (const auto& [begin, size] : places) {
    const std::string_view token(result->tokens_->data() + begin, size);
    const auto id = static_cast<int32_t>(result->size_++);
    if (!result->ids_.emplace(token, id).second) {
      *problem = "line " + std::to_string(id + 1) + " repeats an earlier token";
      return nullptr;
    }
  }
  return result;
}

void Vocabulary::append_ids(std::string_view token, bool spell_unknown,
                            std::vector<int32_t>* ids) const {
  const auto found = ids_.find(token);
  if (found != ids_.end()) {
    ids->push_back(found->second);
  } else if (!spell_unknown) {
    ids->push_back(kUnknownId);
  } else {
    const auto* p = reinterpret_cast<const unsigned char*>(token.data());
    for (const auto* const end = p + token.size(); p < end;) {
      uint32_t code;
      const int size = decode_utf8(p, end, &code);
      ids->push_back(id({reinterpret_cast<const char*>(p), static_cast<size_t>(size)}));
      p += size;
    }
  }
}

}  // namespace kerasllm::text_encoding
