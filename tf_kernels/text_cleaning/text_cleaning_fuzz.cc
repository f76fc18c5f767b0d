// Random bytes through every step of cleaning, for the sanitizers to watch: text_cleaning_fuzz
// SECONDS [SEED].
#include <cstdlib>

#include "common/fuzzing.h"
#include "text_cleaning/text_cleaning.h"

namespace kerasllm::fuzzing {

std::vector<std::string> examples() {
  return {
      "<p class=\"a>b\">很好</p><br/><script src='x'>a</script><!-- --><b x='&amp;nbsp;'>&#x4e2d;",
      "&lt;&hearts;&NotEqualTilde;&#128;&#xD800;&#0;&nbsp &nbspx; <!DOCTYPE html><style></style >",
      "见https://news.example/a?b=1。www.example.com, @小明：＠a-b @b.example x@y.cc",
      "Ａｐｐｌｅ　１２％，℃ e\u0301\u0323 \u1100\u1161\u11a8 \uac00\u11a8 ﷺ \U0002f800 ｶﾞ",
      "👨‍👩‍👧 1️⃣ ☺️ a\u200db\ufe0f\u200b\u0085\u3000",
      "a.b+c@d-e.com.cn. 11010519491231002X 110105491231002 4111-1111-1111-1111 "
      "6222020200112230018",
      "+86 138-0013-8000 (010)62345678转801 0086(021) 6234-5678-12 0571 8888888 （0755）86888888",
      "哈哈哈哈哈👍🏽👍🏽👍🏽👍🏽!!!!!!100000",
      std::string(120, '\xcc') + "\xcc\x81\xcc\x81\xef\xbe\x9e",
  };
}

}  // namespace kerasllm::fuzzing

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  kerasllm::text_cleaning::Options options;
  const unsigned bits = data[0] | data[1] << 8;
  bool* const switches[] = {
      &options.html,
      &options.urls,
      &options.mentions,
      &options.width,
      &options.control,
      &options.mask_emails,
      &options.mask_phones,
      &options.mask_bank_cards,
      &options.mask_identity_cards,
  };
  for (unsigned i = 0; i < 9; ++i) *switches[i] = (bits >> i & 1) == 0;
  options.repeats = bits >> 9 & 3;
  kerasllm::text_cleaning::Cleaner cleaner(options);
  const std::string_view text(reinterpret_cast<const char*>(data) + 2, size - 2);
  // What is clean is UTF-8, so a cleaner that does nothing leaves it as it is.
  const std::string clean(cleaner.clean(text));
  kerasllm::text_cleaning::Cleaner nothing({});
  if (nothing.clean(clean) != clean) std::abort();
  return 0;
}

KERASLLM_FUZZ_MAIN("text_cleaning")
