#include "jieba/jieba.h"

#include <algorithm>
#include <string_view>

#include "jieba/characters.h"
#include "jieba/hmm.h"
#include "jieba/segmentation.h"

namespace kerasllm::jieba {

void Segmenter::cut(const char32_t* text, int64_t size, std::vector<Piece>* pieces) {
  text_ = text;
  pieces_ = pieces;
  for (int64_t begin = 0; begin < size;) {
    const bool in_run = is_in_run(text[begin]);
    int64_t end = begin + 1;
    while (end < size && is_in_run(text[end]) == in_run) ++end;
    if (in_run) {
      const int64_t longest = options_.longest_run > 0 ? options_.longest_run : end - begin;
      for (; begin < end; begin += longest) cut_run(begin, std::min(begin + longest, end));
    } else {
      cut_outside(begin, end);
    }
    begin = end;
  }
}

void Segmenter::cut_utf8(const char* text, int64_t size_bytes, std::vector<Piece>* pieces) {
  decode_utf8(text, size_bytes, &characters_, &starts_);
  const size_t first = pieces->size();
  cut(characters_.data(), static_cast<int64_t>(characters_.size()), pieces);
  for (size_t i = first; i < pieces->size(); ++i) {
    Piece& piece = (*pieces)[i];
    piece.begin = starts_[piece.begin];
    piece.end = starts_[piece.end];
  }
}

// Blanks stand alone, "\r\n" as one. What is between them, of any length down to none, is one token
// in mode kAll; else each of its characters is.
void Segmenter::cut_outside(int64_t begin, int64_t end) {
  const bool all = options_.mode == Mode::kAll;
  int64_t between = begin;
  const auto emit_between = [&](int64_t until) {
    if (between < until || options_.keep_blanks) emit(between, until);
  };
  for (int64_t at = begin; at < end;) {
    if (!is_blank(text_[at])) {
      if (!all) emit(at, at + 1);
      ++at;
      continue;
    }
    const bool pair = text_[at] == U'\r' && at + 1 < end && text_[at + 1] == U'\n';
    const int64_t next = at + (pair ? 2 : 1);
    if (all) emit_between(at);
    if (options_.keep_blanks) emit(at, next);
    at = between = next;
  }
  if (all) emit_between(end);
}

void Segmenter::cut_run(int64_t begin, int64_t end) {
  const int64_t size = end - begin;
  if (static_cast<int64_t>(labels_.size()) < size) {
    const int64_t room = size + size / 2;
    labels_.resize(room);
    scores_.resize(room + 1);
    ends_.resize(room + 1);
    states_.resize(room);
  }
  for (int64_t i = 0; i < size; ++i) labels_[i] = dictionary_.label(text_[begin + i]);
  run_begin_ = begin;
  if (options_.mode == Mode::kAll) return cut_all(begin, end);
  find_route(dictionary_, labels_.data(), size, scores_.data(), ends_.data());
  if (options_.hmm) return cut_with_hmm(begin, end);
  for_each_word_of_route(text_ + begin, size, ends_.data(), [&](int64_t first, int64_t last) {
    emit_word(begin + first, begin + last);
  });
}

void Segmenter::cut_all(int64_t begin, int64_t end) {
  // The Latin words that are being joined: nothing is emitted yet where `latin` has no piece.
  std::vector<Piece> latin;
  const auto emit_latin = [&] {
    pieces_->insert(pieces_->end(), latin.begin(), latin.end());
    latin.clear();
  };
  int64_t last_end = begin;  // of the words so far
  for (int64_t at = begin; at < end; ++at) {
    const bool is_latin = is_latin_or_digit(text_[at]);
    if (!is_latin) emit_latin();
    Dictionary::Node node = Dictionary::kRoot;
    word_ends_.clear();
    for (int64_t next = at; next < end;) {
      node = dictionary_.child(node, labels_[next - begin]);
      if (node == Dictionary::kNone) break;
      ++next;
      if (dictionary_.log_frequency(node) < 0.0) continue;
      word_ends_.push_back(static_cast<int32_t>(next));
    }
    const size_t num_words = word_ends_.size();
    const int32_t only_end = num_words == 1 ? word_ends_[0] : static_cast<int32_t>(at + 1);
    if (num_words <= 1 && at >= last_end) {
      if (!is_latin) {
        emit(at, only_end);
      } else if (!latin.empty() && latin.back().end == at) {
        latin.back().end = only_end;
      } else {
        latin.push_back({static_cast<int32_t>(at), only_end, !latin.empty()});
      }
      last_end = only_end;
    } else if (num_words <= 1) {
      if (only_end > at + 1) {
        emit(at, only_end);
        last_end = only_end;
      }
    } else {
      for (const int32_t word_end : word_ends_) {
        if (word_end == at + 1) continue;
        emit(at, word_end);
        last_end = word_end;
      }
    }
  }
  emit_latin();
}

void Segmenter::cut_with_hmm(int64_t begin, int64_t end) {
  int64_t unknown = begin;  // from here to `at` are characters that stand alone
  for (int64_t at = begin; at < end;) {
    const int64_t next = begin + ends_[at - begin];
    if (next - at > 1) {
      cut_unknown(unknown, at);
      emit_word(at, next);
      unknown = next;
    }
    at = next;
  }
  cut_unknown(unknown, end);
}

// Characters in a row that are words alone, or none. jieba leaves them so if together they are a
// word of the dictionary, and asks the hidden Markov model else.
void Segmenter::cut_unknown(int64_t begin, int64_t end) {
  if (begin == end) return;
  if (end - begin == 1) return emit_word(begin, end);
  if (is_word(begin, end)) {
    for (int64_t at = begin; at < end; ++at) emit_word(at, at + 1);
    return;
  }
  for (int64_t at = begin; at < end;) {
    const bool han = is_han(text_[at]);
    int64_t next = at + 1;
    while (next < end && is_han(text_[next]) == han) ++next;
    if (han) {
      cut_by_states(at, next);
    } else {
      cut_latin(at, next);
    }
    at = next;
  }
}

void Segmenter::cut_by_states(int64_t begin, int64_t end) {
  const int64_t size = end - begin;
  if (size == 1) return emit_word(begin, end);
  likeliest_states(dictionary_.hmm(), text_ + begin, size, states_.data());
  const auto emit_unless_split = [&](int64_t first, int64_t last) {
    if (!dictionary_.is_split({text_ + first, static_cast<size_t>(last - first)})) {
      return emit_word(first, last);
    }
    for (; first < last; ++first) emit_word(first, first + 1);
  };
  int64_t first = begin, done = begin;
  for (int64_t at = begin; at < end; ++at) {
    switch (states_[at - begin]) {
      case kBegin:
        first = at;
        break;
      case kEnd:
        emit_unless_split(first, at + 1);
        done = at + 1;
        break;
      case kSingle:
        emit_word(at, at + 1);
        done = at + 1;
        break;
      default:
        break;
    }
  }
  if (done < end) emit_unless_split(done, end);
}

// Splits what is not Chinese at [a-zA-Z0-9]+(\.\d+)?%?, keeping both sides.
void Segmenter::cut_latin(int64_t begin, int64_t end) {
  for (int64_t at = begin; at < end;) {
    int64_t next = at;
    while (next < end && !is_latin_or_digit(text_[next])) ++next;
    if (next == at) {
      while (next < end && is_latin_or_digit(text_[next])) ++next;
      if (next + 1 < end && text_[next] == U'.' && is_digit(text_[next + 1])) {
        for (next += 2; next < end && is_digit(text_[next]); ++next) {
        }
      }
      if (next < end && text_[next] == U'%') ++next;
    }
    emit_word(at, next);
    at = next;
  }
}

bool Segmenter::is_word(int64_t begin, int64_t end) const {
  Dictionary::Node node = Dictionary::kRoot;
  for (; begin < end; ++begin) {
    node = dictionary_.child(node, labels_[begin - run_begin_]);
    if (node == Dictionary::kNone) return false;
  }
  return dictionary_.log_frequency(node) >= 0.0;
}

void Segmenter::emit_word(int64_t begin, int64_t end) {
  if (options_.mode == Mode::kSearch) {
    for (int64_t length = 2; length <= 3 && length < end - begin; ++length) {
      for (int64_t at = begin; at + length <= end; ++at) {
        if (is_word(at, at + length)) emit(at, at + length);
      }
    }
  }
  emit(begin, end);
}

}  // namespace kerasllm::jieba
