#include "wordpiece/wordpiece.h"

#include <algorithm>
#include <unordered_map>

#include "common/utf8.h"
#include "wordpiece/vocabulary_file.h"
#include "wordpiece/wordpiece_run.h"

namespace kerasllm {
namespace {

constexpr std::string_view kInsidePrefix = "##";

std::vector<uint32_t> code_points(std::string_view text) {
  std::vector<uint32_t> result;
  const auto* p = reinterpret_cast<const unsigned char*>(text.data());
  const auto* const end = p + text.size();
  while (p < end) p += decode_utf8(p, end, &result.emplace_back());
  return result;
}

// Symbols for the characters of the vocabulary: 1 for the most frequent, and so on. Frequent ones
// close together make a compact trie.
std::unordered_map<uint32_t, uint32_t> number_characters(
    const std::vector<std::vector<uint32_t>>& tokens) {
  std::unordered_map<uint32_t, uint32_t> counts;
  for (const auto& token : tokens) {
    for (const uint32_t code : token) ++counts[code];
  }
  std::vector<std::pair<uint32_t, uint32_t>> order(counts.begin(), counts.end());
  std::sort(order.begin(), order.end(), [](const auto& a, const auto& b) {
    return a.second != b.second ? a.second > b.second : a.first < b.first;
  });
  uint32_t symbol = 0;
  for (const auto& [code, count] : order) counts[code] = ++symbol;
  return counts;
}

// Byte offsets to code points, for rising offsets.
void to_code_points(std::string_view text, int64_t* offsets, int64_t count) {
  const auto* const bytes = reinterpret_cast<const unsigned char*>(text.data());
  int64_t at = 0, points = 0;
  for (int64_t i = 0; i < count; ++i) {
    for (uint32_t code; at < offsets[i]; ++points) {
      at += decode_utf8(bytes + at, bytes + text.size(), &code);
    }
    offsets[i] = points;
  }
}

}  // namespace

std::shared_ptr<const Wordpiece> Wordpiece::create(std::string_view vocabulary,
                                                   const WordpieceOptions& options,
                                                   std::string* error) {
  VocabularyFile file;
  *error = file.parse(vocabulary);
  if (!error->empty()) return nullptr;
  if (options.max_characters_per_word < 1) {
    *error = "max_characters_per_word is " + std::to_string(options.max_characters_per_word) +
             ", expected 1 or more";
    return nullptr;
  }
  std::shared_ptr<Wordpiece> model(new Wordpiece);
  model->options_ = options;
  model->size_ = static_cast<int64_t>(file.tokens.size());

  const auto find_special = [&](const std::string& token) {
    const auto found = file.ids.find(token);
    if (found == file.ids.end()) {
      *error = "the vocabulary lacks the special token '" + token + "'";
      return -1;
    }
    model->special_tokens_.push_back({token, found->second});
    return found->second;
  };
  model->unknown_id_ = find_special(options.unknown_token);
  model->class_id_ = find_special(options.class_token);
  model->separator_id_ = find_special(options.separator_token);
  model->padding_id_ = find_special(options.padding_token);
  for (const std::string& token : options.more_special_tokens) find_special(token);
  if (!error->empty()) return nullptr;
  std::stable_sort(model->special_tokens_.begin(), model->special_tokens_.end(),
                   [](const auto& a, const auto& b) { return a.text.size() > b.text.size(); });

  std::vector<std::vector<uint32_t>> tokens;
  std::vector<bool> inside;
  std::unordered_map<uint32_t, int32_t> single;  // the tokens of one character
  for (const std::string_view token : file.tokens) {
    inside.push_back(token.size() > kInsidePrefix.size() &&
                     token.substr(0, kInsidePrefix.size()) == kInsidePrefix);
    tokens.push_back(code_points(inside.back() ? token.substr(kInsidePrefix.size()) : token));
    if (tokens.back().size() == 1 && !inside.back()) {
      single[tokens.back()[0]] = static_cast<int32_t>(tokens.size()) - 1;
    }
  }
  const auto symbols = number_characters(tokens);
  std::vector<TokenTrie::Entry> entries;
  for (size_t i = 0; i < tokens.size(); ++i) {
    for (uint32_t& code : tokens[i]) code = symbols.at(code);
    entries.push_back({std::move(tokens[i]), inside[i], static_cast<int32_t>(i)});
  }
  model->trie_ =
      std::make_unique<TokenTrie>(std::move(entries), static_cast<uint32_t>(symbols.size()) + 1);
  model->characters_ = std::make_unique<CharacterMap>(
      CharacterMapOptions{options.lowercase, options.strip_accents, options.split_cjk}, symbols,
      single, model->unknown_id_);
  if (options.special_tokens_in_text) {
    for (const SpecialToken& token : model->special_tokens_) {
      model->characters_->mark_special(code_points(token.text)[0]);
    }
  }
  return model;
}

const Wordpiece::SpecialToken* Wordpiece::special_token_at(std::string_view text) const {
  for (const SpecialToken& token : special_tokens_) {
    if (text.substr(0, token.text.size()) == token.text) return &token;
  }
  return nullptr;
}

void Wordpiece::tokenize(const std::string_view* texts, int64_t count, int64_t limit,
                         OffsetUnit unit, TokenBuffer* tokens, int64_t* lengths) const {
  const auto tokenize_all = [&](auto run) {
    for (int64_t i = 0; i < count; ++i) {
      const int64_t before = tokens->size;
      run.tokenize(texts[i], limit, tokens);
      lengths[i] = tokens->size - before;
      if (unit == OffsetUnit::kCodePoints) {
        to_code_points(texts[i], tokens->starts.get() + before, lengths[i]);
        to_code_points(texts[i], tokens->ends.get() + before, lengths[i]);
      }
    }
  };
  if (unit == OffsetUnit::kNone) {
    tokenize_all(WordpieceRun<false>(*this));
  } else {
    tokenize_all(WordpieceRun<true>(*this));
  }
}

}  // namespace kerasllm
