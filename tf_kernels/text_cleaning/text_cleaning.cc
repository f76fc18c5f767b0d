#include "text_cleaning/text_cleaning.h"

#include "common/utf8.h"
#include "text_cleaning/steps.h"

namespace kerasllm::text_cleaning {

std::string_view Cleaner::clean(std::string_view text) {
  text_.clear();
  const auto* p = reinterpret_cast<const unsigned char*>(text.data());
  for (const auto* const end = p + text.size(); p < end;) {
    uint32_t code;
    p += decode_utf8(p, end, &code);
    text_.push_back(code);
  }
  // The order and its reasons are those of TextCleaner.
  if (options_.html) remove_html(&text_, &buffer_);
  if (options_.urls) remove_urls(&text_, &buffer_);
  if (options_.mentions) remove_mentions(&text_, &buffer_);
  if (options_.width) normalize_width(&text_, &buffer_);
  if (options_.control) remove_control_characters(&text_, &buffer_);
  if (options_.mask_emails) mask_emails(&text_, &buffer_);
  if (options_.mask_identity_cards) mask_identity_cards(&text_, &buffer_);
  if (options_.mask_bank_cards) mask_bank_cards(&text_, &buffer_);
  if (options_.mask_phones) mask_phones(&text_, &buffer_);
  if (options_.repeats > 0) shorten_repeats(options_.repeats, &text_, &buffer_);
  result_.clear();
  for (const char32_t code : text_) append_utf8(code, &result_);
  return result_;
}

}  // namespace kerasllm::text_cleaning
