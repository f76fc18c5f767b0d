// Cleaning of texts: what kerasllm.text.TextCleaner does, character by character the same.
#ifndef KERASLLM_TEXT_CLEANING_TEXT_CLEANING_H_
#define KERASLLM_TEXT_CLEANING_TEXT_CLEANING_H_

#include <cstdint>
#include <string>
#include <string_view>

namespace kerasllm::text_cleaning {

// The switches of TextCleaner, whose docstrings say what each step does.
struct Options {
  bool html = false;
  bool urls = false;
  bool mentions = false;
  bool width = false;
  bool control = false;
  bool mask_emails = false;
  bool mask_identity_cards = false;
  bool mask_bank_cards = false;
  bool mask_phones = false;
  int64_t repeats = 0;  // the longest run of one character that is kept, 0 for any
};

// Cleans one text after another. An object is for one thread.
class Cleaner {
 public:
  explicit Cleaner(const Options& options) : options_(options) {}

  // UTF-8 in and out. Bytes that are none become U+FFFD, as in Python's decode("utf-8", "replace").
  // The result lives until the next call.
  std::string_view clean(std::string_view text);

 private:
  const Options options_;
  std::u32string text_, buffer_;
  std::string result_;
};

}  // namespace kerasllm::text_cleaning

#endif  // KERASLLM_TEXT_CLEANING_TEXT_CLEANING_H_
