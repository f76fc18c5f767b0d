#include "wordpiece/wordpiece_run.h"

#include "common/utf8.h"
#include "wordpiece/normalization.h"

namespace kerasllm {

using Action = CharacterAction;

template <bool kOffsets>
WordpieceRun<kOffsets>::WordpieceRun(const Wordpiece& model)
    : model_(model),
      characters_(*model.characters_),
      trie_(*model.trie_),
      max_characters_(model.options_.max_characters_per_word),
      symbols_(static_cast<size_t>(max_characters_)),
      starts_(kOffsets ? symbols_.size() : 0),
      ends_(kOffsets ? symbols_.size() : 0) {}

template <bool kOffsets>
void WordpieceRun<kOffsets>::tokenize(std::string_view text, int64_t limit, TokenBuffer* tokens) {
  // Every token stands for a byte at least: no character becomes more parts than it has bytes.
  const auto size = static_cast<int64_t>(text.size());
  tokens->reserve(size, kOffsets);
  text_ = text;
  ids_ = tokens->ids.get() + tokens->size;
  if (kOffsets) {
    token_starts_ = tokens->starts.get() + tokens->size;
    token_ends_ = tokens->ends.get() + tokens->size;
  }
  count_ = 0;
  length_ = 0;
  const auto* const bytes = reinterpret_cast<const unsigned char*>(text.data());
  // A special token parts the text into segments, which are normalised each for itself.
  int64_t segment_start = 0, segment_count = 0;
  for (int64_t at = 0; at < size && count_ < limit;) {
    uint32_t code;
    const int64_t next = at + decode_utf8(bytes + at, bytes + size, &code);
    const Action action = characters_[code];
    if (action.may_begin_special_token()) {
      const auto* const special = model_.special_token_at(text.substr(static_cast<size_t>(at)));
      if (special != nullptr) {
        end_word();
        const int64_t end = at + static_cast<int64_t>(special->text.size());
        put(special->id, at, end);
        at = segment_start = end;
        segment_count = count_;
        continue;
      }
    }
    if (action.kind() == Action::kSymbol) {
      add_symbol(action.value(), at, next);
    } else if (action.kind() == Action::kReorders) {
      count_ = segment_count;
      length_ = 0;
      at = tokenize_in_order(segment_start);
      continue;
    } else {
      add(action, at, next);
    }
    at = next;
  }
  end_word();
  tokens->size += count_;
}

template <bool kOffsets>
inline void WordpieceRun<kOffsets>::add(Action action, int64_t start, int64_t end) {
  switch (action.kind()) {
    case Action::kSymbol:
      add_symbol(action.value(), start, end);
      break;
    case Action::kWord:
      end_word();
      put(static_cast<int32_t>(action.value()), start, end);
      break;
    case Action::kSpace:
      end_word();
      break;
    case Action::kExpands: {
      uint32_t count;
      const Action* const parts = characters_.parts(action, &count);
      for (uint32_t i = 0; i < count; ++i) add(parts[i], start, end);
      break;
    }
    case Action::kDropped:
    case Action::kReorders:
      break;
  }
}

template <bool kOffsets>
inline void WordpieceRun<kOffsets>::add_symbol(uint32_t symbol, int64_t start, int64_t end) {
  if (length_ < max_characters_) {
    symbols_[static_cast<size_t>(length_)] = symbol;
    if (kOffsets) {
      starts_[static_cast<size_t>(length_)] = start;
      ends_[static_cast<size_t>(length_)] = end;
    }
  }
  if (kOffsets) {
    if (length_ == 0) word_start_ = start;
    word_end_ = end;
  }
  ++length_;
}

// Longest match first. The first piece is mostly the whole word; a word of pieces takes time
// proportional to its length times that of the longest token, both of which are bounded.
template <bool kOffsets>
inline void WordpieceRun<kOffsets>::end_word() {
  const int32_t length = length_;
  if (length == 0) return;
  length_ = 0;
  const int64_t count_before = count_;
  const uint32_t* const symbols = symbols_.data();
  bool known = length <= max_characters_;
  for (int32_t start = 0; known && start < length;) {
    uint32_t node = start == 0 ? TokenTrie::kWordStart : TokenTrie::kWordInside;
    int32_t id = -1, end = start;
    for (int32_t i = start; i < length; ++i) {
      node = trie_.step(node, symbols[i]);
      if (node == TokenTrie::kNone) break;
      if (trie_.id(node) >= 0) {
        id = trie_.id(node);
        end = i + 1;
      }
    }
    known = id >= 0;
    if (known) {
      if (kOffsets) {
        put(id, starts_[static_cast<size_t>(start)], ends_[static_cast<size_t>(end - 1)]);
      } else {
        put(id, 0, 0);
      }
    }
    start = end;
  }
  if (!known) {
    count_ = count_before;
    put(model_.unknown_id(), word_start_, word_end_);
  }
}

template <bool kOffsets>
inline void WordpieceRun<kOffsets>::put(int32_t id, int64_t start, int64_t end) {
  ids_[count_] = id;
  if (kOffsets) {
    token_starts_[count_] = start;
    token_ends_[count_] = end;
  }
  ++count_;
}

template <bool kOffsets>
int64_t WordpieceRun<kOffsets>::tokenize_in_order(int64_t begin) {
  constexpr uint32_t kBlank = ' ';
  const auto* const bytes = reinterpret_cast<const unsigned char*>(text_.data());
  const auto size = static_cast<int64_t>(text_.size());
  std::vector<SourcedCharacter> characters;
  int64_t at = begin;
  while (at < size) {
    uint32_t code;
    const int64_t next = at + decode_utf8(bytes + at, bytes + size, &code);
    if (characters_[code].may_begin_special_token() &&
        model_.special_token_at(text_.substr(static_cast<size_t>(at))) != nullptr) {
      break;
    }
    const bool alone = model_.options_.split_cjk && is_cjk(code);
    if (is_space(code) || alone) characters.push_back({kBlank, at, next});
    if (!is_space(code) && !is_removed(code)) characters.push_back({code, at, next});
    if (alone) characters.push_back({kBlank, at, next});
    at = next;
  }
  std::vector<uint32_t> lower;
  for (const SourcedCharacter& character : strip_accents_in_order(characters)) {
    if (character.code == kBlank) {
      end_word();
      continue;
    }
    lower.assign(1, character.code);
    if (model_.options_.lowercase) {
      lower.clear();
      append_lowercase(character.code, &lower);
    }
    for (const uint32_t code : lower) {
      add(characters_.normalized(code), character.start, character.end);
    }
  }
  end_word();
  return at;
}

template class WordpieceRun<false>;
template class WordpieceRun<true>;

}  // namespace kerasllm
