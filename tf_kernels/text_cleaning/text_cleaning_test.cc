// Known answers, each step alone; Python's tests hold all steps against kerasllm.text.TextCleaner.
#include "text_cleaning/text_cleaning.h"

#include "common/testing.h"

namespace kerasllm::testing {
namespace {

using text_cleaning::Cleaner;
using text_cleaning::Options;

int cases = 0;

template <class T>
Options with(T Options::* member, T value) {
  Options options;
  options.*member = value;
  return options;
}

void check(const Options& options, const std::string& text, const std::string& expected) {
  ++cases;
  Cleaner cleaner(options);
  cleaner.clean("what was there before");
  const std::string got(cleaner.clean(text));
  expect(got == expected,
         "clean(\"" + text + "\"): got \"" + got + "\", expected \"" + expected + "\"");
}

void check_markup() {
  const Options html = with(&Options::html, true);
  check(html, "很好<br/>推荐<b>购买</b>&amp;nbsp;&hearts;", "很好 推荐购买\u00a0♥");
  check(html, "3<5 并且 7>6，vector<int>", "3<5 并且 7>6，vector<int>");
  check(html, "a<script x>1<2</script >b<!-- c -->d<style>e", "abde");
  check(html, "<a href='<'>x</a><a title=\"a>b\">y", "<a href='<'>xy");
  check(html, "<!DOCTYPE html>a<?xml version=\"1.0\"?>b", " a b");
  check(html, "&#20013;&#x4E2d;&#0;&#128;&#xD800;&#1114112;&#1;&nope;&LT;",
        "中中\ufffd€\ufffd\ufffd&nope;<");
  check(html, "&nbsp你&nbsp=&NBSP &nbspa;", "\u00a0你&nbsp=\u00a0 &nbspa;");
  check(html, "&NotEqualTilde;&para=2", "≂̸&para=2");
}

void check_links() {
  const Options urls = with(&Options::urls, true), mentions = with(&Options::mentions, true);
  check(urls, "详见https://news.example/a?b=1。www.example.com, 谢谢", "详见。, 谢谢");
  check(urls, "HTTP://A.B xwww.a.b http://..,", " xwww.a.b http://..,");
  check(mentions, "回复@小明_01：好的 @Tom_Lee 写信到 a@b.example",
        "回复：好的  写信到 a@b.example");
  check(mentions, "@a @b.cc ＠小明@小红!", "@a @b.cc !");
}

void check_characters() {
  const Options width = with(&Options::width, true), control = with(&Options::control, true);
  check(width, "Ａｐｐｌｅ　１２％，℃", "Apple 12%,°C");
  check(width, "e\u0301 가\u11a8 \u1100\u1161\u11a8 a\u0323\u0307 a\u0307\u0323 ｶﾞ",
        "é 각 각 ạ̇ ạ̇ ガ");
  check(width, "\u0344 \U0002f800 ﬃ", "\u0308\u0301 丽 ffi");
  std::string marks = "a", kept = "a";
  for (int i = 0; i < 200; ++i) marks += "\u0316";
  for (int i = 0; i < 30; ++i) kept += "\u0316";
  check(width, marks, kept);
  check(control, "　零\u200b宽\n\u00a0字\ufeff符\x01 ", "零宽 字符");
  check(control, "👨\u200d👩 ❤\ufe0f\u200d🔥 a\u200db 1\ufe0f\u20e3 a\ufe0f",
        "👨\u200d👩 ❤\ufe0f\u200d🔥 ab 1\ufe0f\u20e3 a");
  check(with(&Options::repeats, int64_t{3}), "哈哈哈哈哈哈！！！！！100000元👍🏽👍🏽👍🏽👍🏽",
        "哈哈哈！！！100000元👍🏽👍🏽👍🏽");
}

void check_masks() {
  const Options emails = with(&Options::mask_emails, true);
  check(emails, "请发到 li.si+1@mail.example.cn，谢谢", "请发到 [EMAIL]，谢谢");
  check(emails, "a@b.com. a@b.c a@b.com.1 a@b a@.com", "[EMAIL]. a@b.c [EMAIL].1 a@b a@.com");
  check(with(&Options::mask_identity_cards, true),
        "身份证11010519491231002X，订单110105194912310021",
        "身份证[IDENTITY]，订单110105194912310021");
  check(with(&Options::mask_bank_cards, true), "卡号4111 1111 1111 1111，流水号4111111111111112",
        "卡号[BANKCARD]，流水号4111111111111112");
  const Options phones = with(&Options::mask_phones, true);
  check(phones, "电话+86 138-0013-8000或(010)62345678转801，单号138001380001234",
        "电话[PHONE]或[PHONE]，单号138001380001234");
  check(phones, "0571-8888888 010-623456789 1.13800138000 0086(0755)86888888-1234567",
        "[PHONE] 010-623456789 1.13800138000 [PHONE]-1234567");
}

void check_bytes() {
  check({}, "a\xff\xe4\xb8z\xed\xa0\x80", "a\ufffd\ufffdz\ufffd\ufffd\ufffd");
  check({}, std::string("a\0b", 3), std::string("a\0b", 3));
  check({}, "", "");
}

}  // namespace
}  // namespace kerasllm::testing

int main() {
  using namespace kerasllm::testing;
  check_markup();
  check_links();
  check_characters();
  check_masks();
  check_bytes();
  return finish("text_cleaning", cases);
}
