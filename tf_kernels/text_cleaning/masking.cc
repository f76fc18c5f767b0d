// Personal data, as kerasllm/text/masking.py.
#include "text_cleaning/steps.h"

namespace kerasllm::text_cleaning {
namespace {

bool is_gap(char32_t c) { return c == U' ' || c == U'-'; }
size_t end_of_digits(const Text& text, size_t at) { return end_of_run(text, at, is_ascii_digit); }

// Not inside a longer run of digits and not the decimals of a number.
bool may_begin(const Text& text, size_t at) {
  const char32_t previous = before(text, at);
  return !is_ascii_digit(previous) && !(previous == U'.' && is_ascii_digit(before(text, at - 1)));
}
bool may_end(const Text& text, size_t at) {
  return !is_ascii_digit(text[at]) && !(text[at] == U'.' && is_ascii_digit(text[at + 1]));
}

bool is_in_local_part(char32_t c) { return is_ascii_alphanumeric(c) || is_one_of(c, U"._%+-"); }
bool is_in_domain(char32_t c) { return is_ascii_alphanumeric(c) || c == U'-'; }

size_t match_email(const Text& text, size_t at) {
  if (!is_in_local_part(text[at]) || is_in_local_part(before(text, at))) return at;
  size_t next = end_of_run(text, at, is_in_local_part);
  if (text[next] != U'@') return at;
  // The last part of the domain that can be its top level: two letters at least and nothing else.
  size_t found = at;
  for (bool first = true;; first = false) {
    const size_t begin = next + 1;
    next = end_of_run(text, begin, is_in_domain);
    if (next == begin) break;
    if (!first && next - begin >= 2 && end_of_run(text, begin, is_ascii_letter) == next) {
      found = next;
    }
    if (text[next] != U'.') break;
  }
  return found;
}

size_t match_identity_card(const Text& text, size_t at) {
  if (text[at] - U'1' > 8 || !may_begin(text, at)) return at;
  size_t end = end_of_digits(text, at);
  if (end - at == 17 && (text[end] | 0x20) == U'x') ++end;
  if (end - at != 15 && end - at != 18) return at;
  return (text[end] | 0x20) != U'x' && may_end(text, end) ? end : at;
}

int number_at(const Text& text, size_t at, int num_digits) {
  int number = 0;
  for (int i = 0; i < num_digits; ++i) number = 10 * number + static_cast<int>(text[at + i] - U'0');
  return number;
}

bool is_date(int year, int month, int day) {
  if (year < 1850 || year >= 2100 || month < 1 || month > 12 || day < 1) return false;
  static constexpr int kDays[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
  const bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
  return day <= kDays[month - 1] + (leap && month == 2);
}

bool is_identity_number(const Text& text, size_t begin, size_t end) {
  static constexpr int kProvinces[] = {11, 12, 13, 14, 15, 21, 22, 23, 31, 32, 33, 34,
                                       35, 36, 37, 41, 42, 43, 44, 45, 46, 50, 51, 52,
                                       53, 54, 61, 62, 63, 64, 65, 71, 81, 82, 83, 91};
  static constexpr int kWeights[] = {7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2};
  bool known = false;
  for (const int province : kProvinces) known |= province == number_at(text, begin, 2);
  if (!known) return false;
  const bool is_old = end - begin == 15;
  const int year = is_old ? 1900 + number_at(text, begin + 6, 2) : number_at(text, begin + 6, 4);
  const size_t after_year = begin + (is_old ? 8 : 10);
  if (!is_date(year, number_at(text, after_year, 2), number_at(text, after_year + 2, 2))) {
    return false;
  }
  if (is_old) return true;
  int total = 0;
  for (int i = 0; i < 17; ++i) total += kWeights[i] * number_at(text, begin + i, 1);
  const char32_t check = text[begin + 17];
  return (check == U'x' ? U'X' : check) == U"10X98765432"[total % 11];
}

size_t match_bank_card(const Text& text, size_t at) {
  if (!is_one_of(text[at], U"34569") || !may_begin(text, at)) return at;
  size_t end = end_of_digits(text, at);
  if (end - at >= 16 && end - at <= 19) return may_end(text, end) ? end : at;
  const char32_t gap = text[end];
  if (end - at != 4 || !is_gap(gap)) return at;
  if (at >= 2 && is_gap(text[at - 1]) && is_ascii_digit(text[at - 2])) return at;
  for (int group = 1; group < 4; ++group) {
    const size_t begin = end + 1;
    if (text[end] != gap) return at;
    end = end_of_digits(text, begin);
    // The digits of the last group may be followed by more, which may_end refuses.
    if (end - begin != 4) return at;
  }
  if (text[end] == gap && is_ascii_digit(text[end + 1])) {
    const size_t begin = end + 1;
    end = end_of_digits(text, begin);
    if (end - begin > 3 || (text[end] == gap && is_ascii_digit(text[end + 1]))) return at;
  }
  return may_end(text, end) ? end : at;
}

// The Luhn check (ISO/IEC 7812-1) of the digits among the characters.
bool passes_luhn(const Text& text, size_t begin, size_t end) {
  int total = 0;
  bool doubled = false;
  for (size_t i = end; i > begin; --i) {
    if (!is_ascii_digit(text[i - 1])) continue;
    const int digit = number_at(text, i - 1, 1);
    total += doubled ? 2 * digit / 10 + 2 * digit % 10 : digit;
    doubled = !doubled;
  }
  return total % 10 == 0;
}

// Where "+86", "0086" or, if `plain`, "86" at `at` ends; `at` if there is none.
size_t match_country(const Text& text, size_t at, bool plain) {
  size_t next = at;
  if (text[next] == U'+') {
    ++next;
  } else if (continues_with(text, next, "00")) {
    next += 2;
  } else if (!plain) {
    return at;
  }
  return continues_with(text, next, "86") ? next + 2 : at;
}

size_t skip(const Text& text, size_t at, bool present) {
  return present && at < text.size() ? at + 1 : at;
}
size_t skip_gap(const Text& text, size_t at) { return skip(text, at, is_gap(text[at])); }

// Where `count` digits that begin at `at` end; npos if there are fewer.
size_t match_digits(const Text& text, size_t at, size_t count) {
  for (size_t i = 0; i < count; ++i) {
    if (!is_ascii_digit(text[at + i])) return Text::npos;
  }
  return at + count;
}

size_t match_mobile(const Text& text, size_t at) {
  size_t next = at;
  if (text[at] != U'1') {
    const size_t country = skip(text, at, text[at] == U'(');
    next = match_country(text, country, true);
    if (next == country) return at;
    next = skip(text, next, text[next] == U')');
    next = skip_gap(text, next);
  }
  if (text[next] != U'1' || text[next + 1] - U'3' > 6) return at;
  if (!is_ascii_digit(text[next + 2])) return at;
  next += 3;
  for (int group = 0; group < 2; ++group) {
    next = match_digits(text, skip_gap(text, next), 4);
    if (next == Text::npos) return at;
  }
  return may_end(text, next) ? next : at;
}

// Where an area code without its 0 ends; npos if there is none.
size_t match_area(const Text& text, size_t at) {
  if (text[at] == U'1') return text[at + 1] == U'0' ? at + 2 : Text::npos;
  if (text[at] == U'2') return match_digits(text, at, 2);
  return text[at] - U'3' <= 6 ? match_digits(text, at, 3) : Text::npos;
}

bool opens(char32_t c) { return c == U'(' || c == 0xFF08; }
bool closes(char32_t c) { return c == U')' || c == 0xFF09; }

// Where the country and area codes of a landline end; npos if they are none.
size_t match_landline_codes(const Text& text, size_t at) {
  size_t next = match_country(text, at, false);
  if (next != at) {
    next = skip_gap(text, next);
    if (text[next] != U'(') return match_area(text, next);
    next = skip(text, next + 1, text[next + 1] == U'0');
    next = match_area(text, next);
    return next != Text::npos && text[next] == U')' ? next + 1 : Text::npos;
  }
  const bool bracket = opens(text[at]);
  next = skip(text, at, bracket);
  if (text[next] != U'0') return Text::npos;
  next = match_area(text, next + 1);
  if (next == Text::npos || !bracket) return next;
  return closes(text[next]) ? next + 1 : Text::npos;
}

// Where an extension that may begin at `at` ends; `at` if there is none.
size_t match_extension(const Text& text, size_t at) {
  size_t next = at;
  if (text[next] == U'-') {
    ++next;
  } else {
    next = skip(text, next, text[next] == U' ');
    if (text[next] != U'转') return at;
    ++next;
    next = skip(text, next, text[next] == U' ');
  }
  const size_t end = end_of_digits(text, next);
  return end > next && end - next <= 6 ? end : at;
}

size_t match_landline(const Text& text, size_t at) {
  const size_t codes = match_landline_codes(text, at);
  if (codes == Text::npos) return at;
  const size_t begin = skip_gap(text, codes);
  if (text[begin] - U'2' > 6) return at;
  // Numbers have 8 or 7 digits, the longer tried first.
  for (const size_t first : {4, 3}) {
    const size_t middle = match_digits(text, begin, first);
    if (middle == Text::npos) continue;
    const size_t end = match_digits(text, skip_gap(text, middle), 4);
    if (end == Text::npos) continue;
    const size_t extension = match_extension(text, end);
    if (may_end(text, extension)) return extension;
    if (may_end(text, end)) return end;
  }
  return at;
}

size_t match_phone(const Text& text, size_t at) {
  if (!is_one_of(text[at], U"018+(\uFF08") || !may_begin(text, at)) return at;
  const size_t mobile = match_mobile(text, at);
  return mobile != at ? mobile : match_landline(text, at);
}

template <class Match, class Holds>
void mask(Text* text, Text* buffer, std::u32string_view word, const Match& match,
          const Holds& holds) {
  substitute(
      text, buffer, [&](size_t at) { return match(*text, at); },
      [&](size_t begin, size_t end, Text* to) {
        if (holds(*text, begin, end)) {
          to->append(word);
        } else {
          to->append(*text, begin, end - begin);
        }
      });
}

bool always(const Text&, size_t, size_t) { return true; }

}  // namespace

void mask_emails(Text* text, Text* buffer) {
  if (text->find(U'@') != Text::npos) mask(text, buffer, U"[EMAIL]", match_email, always);
}
void mask_identity_cards(Text* text, Text* buffer) {
  mask(text, buffer, U"[IDENTITY]", match_identity_card, is_identity_number);
}
void mask_bank_cards(Text* text, Text* buffer) {
  mask(text, buffer, U"[BANKCARD]", match_bank_card, passes_luhn);
}
void mask_phones(Text* text, Text* buffer) { mask(text, buffer, U"[PHONE]", match_phone, always); }

}  // namespace kerasllm::text_cleaning
