#include "ipc_proxy_cache/core/cache_policy.h"

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "ipc_proxy_cache/core/cache_control.h"

namespace ds::ipc_proxy_cache {
namespace {

using std::chrono::seconds;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr std::int64_t kNow = 784111777;  // Sun, 06 Nov 1994 08:49:37 GMT
constexpr std::string_view kNowText = "Sun, 06 Nov 1994 08:49:37 GMT";
constexpr std::string_view kEarlierText = "Sun, 06 Nov 1994 08:48:37 GMT";  // a minute

/// "Name: value" in each line, the spaces before it skipped.
std::vector<HttpField> Fields(std::string_view lines) {
  std::vector<HttpField> fields;
  while (!lines.empty()) {
    const std::string_view line = lines.substr(0, lines.find('\n'));
    lines.remove_prefix(std::min(line.size() + 1, lines.size()));
    const std::size_t colon = line.find(':');
    const std::string_view value = line.substr(colon + 1);
    fields.push_back({line.substr(0, colon), value.starts_with(' ') ? value.substr(1) : value});
  }
  return fields;
}

CacheDecision Decide(int status, std::string_view lines, bool authorized = false) {
  const std::vector<HttpField> fields = Fields(lines);
  return DecideCaching({.status = status,
                        .fields = fields,
                        .requested_unix_s = kNow,
                        .received_unix_s = kNow,
                        .authorized = authorized},
                       CachePolicyOptions{});
}

// ---- The parser.

TEST(ParseDeltaSeconds, ReadsDigitsOnlyAndStopsAtTwoToThe31) {
  EXPECT_EQ(ParseDeltaSeconds("0"), seconds(0));
  EXPECT_EQ(ParseDeltaSeconds("0060"), seconds(60));
  EXPECT_EQ(ParseDeltaSeconds("2147483647"), seconds(2147483647));
  EXPECT_EQ(ParseDeltaSeconds("2147483649"), seconds(2147483648));
  EXPECT_EQ(ParseDeltaSeconds("18446744073709551617"), seconds(2147483648));
  EXPECT_EQ(ParseDeltaSeconds(std::string(5000, '9')), seconds(2147483648));
  for (const std::string_view bad : {"", "-1", "+1", " 1", "1 ", "1.5", "0x10", "1s", "\"1\""}) {
    EXPECT_EQ(ParseDeltaSeconds(bad), std::nullopt) << bad;
  }
}

TEST(CacheControl, ReadsDirectives) {
  struct Case {
    std::string_view text;
    CacheControl expected;
  };
  const auto with = [](auto set) {
    CacheControl control;
    set(&control);
    return control;
  };
  using C = CacheControl;
  const Case cases[] = {
      {"", {}},
      {" , ,\t,", {}},
      {"no-store", with([](C* c) { c->no_store = true; })},
      {"NO-Store,No-Cache", with([](C* c) { c->no_store = c->no_cache = true; })},
      {"private=\"set-cookie\"", with([](C* c) { c->is_private = true; })},
      {"no-cache=\"a, no-store\"", with([](C* c) { c->no_cache = true; })},
      {"public, must-revalidate, proxy-revalidate, must-understand", with([](C* c) {
         c->is_public = c->must_revalidate = c->proxy_revalidate = c->must_understand = true;
       })},
      {"max-age=60", with([](C* c) { c->max_age = seconds(60); })},
      {"max-age=\"60\"", with([](C* c) { c->max_age = seconds(60); })},
      {"max-age=\"6\\0\"", with([](C* c) { c->max_age = seconds(60); })},
      {"max-age=99999999999999999999", with([](C* c) { c->max_age = seconds(2147483648); })},
      {"max-age=60, max-age=30", with([](C* c) { c->max_age = seconds(30); })},
      {"max-age=30, MAX-AGE=60", with([](C* c) { c->max_age = seconds(30); })},
      {"max-age=60, max-age=x", with([](C* c) { c->max_age = seconds(0); })},
      {"max-age", with([](C* c) { c->max_age = seconds(0); })},
      {"max-age=", with([](C* c) { c->max_age = seconds(0); })},
      {"max-age=-1", with([](C* c) { c->max_age = seconds(0); })},
      {"max-age=1.5", with([](C* c) { c->max_age = seconds(0); })},
      {"max-age= 60", with([](C* c) { c->max_age = seconds(0); })},
      {"max-age=60;public", with([](C* c) { c->max_age = seconds(0); })},
      {"max-age==60", with([](C* c) { c->max_age = seconds(0); })},
      {"s-maxage=1,stale-while-revalidate=2 ,stale-if-error=3", with([](C* c) {
         c->s_maxage = seconds(1);
         c->stale_while_revalidate = seconds(2);
         c->stale_if_error = seconds(3);
       })},
      {"x-unknown=\"a\\\"b, no-store\", immutable, no-transform", {}},
      {"no-storex, xno-store, no_store", {}},
      // Malformed.
      {"max-age=\"60, no-store", with([](C* c) {
         c->malformed = true;
         c->max_age = seconds(0);
       })},
      {"\"", with([](C* c) { c->malformed = true; })},
      {"x=\"\\", with([](C* c) { c->malformed = true; })},
      {"x=\"\\\"", with([](C* c) { c->malformed = true; })},
      {"=60", with([](C* c) { c->malformed = true; })},
      {"max-age = 60", with([](C* c) { c->malformed = true; })},
      {"public; no-store", with([](C* c) { c->malformed = true; })},
      {std::string_view("no-store\0", 9), with([](C* c) { c->malformed = true; })},
  };
  for (const Case& c : cases) {
    CacheControl read;
    read.Add(c.text);
    EXPECT_EQ(read, c.expected) << c.text;
  }
}

TEST(CacheControl, SeveralLinesAreOneList) {
  CacheControl control;
  control.Add("max-age=60");
  control.Add("no-cache");
  control.Add("max-age=10");
  EXPECT_EQ(control.max_age, seconds(10));
  EXPECT_TRUE(control.no_cache);
}

// ---- Decisions. Sections are of RFC 9111 unless named otherwise.

struct DecisionCase {
  std::string_view section;
  int status;
  std::string_view lines;
  Storing storing;
  std::int64_t lifetime_s = 0;
  std::int64_t age_s = 0;
  bool must_revalidate = false;
  std::int64_t stale_while_revalidate_s = 0;
  std::int64_t stale_if_error_s = 0;
};

constexpr Storing kPass = Storing::kPass;
constexpr Storing kShare = Storing::kShare;
constexpr Storing kStore = Storing::kStore;

const DecisionCase kDecisions[] = {
    // What may be stored.
    {"3: nothing said, so the operator's ttl", 200, "", kStore, 60},
    {"3: a lifetime", 200, "Cache-Control: max-age=10", kStore, 10},
    {"3: names in any case", 200, "cAcHe-CoNtRoL: MAX-AGE=10", kStore, 10},
    {"3: other statuses pass", 201, "Cache-Control: max-age=10", kPass},
    {"3: other statuses pass", 203, "Cache-Control: max-age=10", kPass},
    {"3: other statuses pass", 204, "Cache-Control: max-age=10", kPass},
    {"3.3: parts are not stored as such", 206, "Cache-Control: max-age=10", kPass},
    {"3: other statuses pass", 304, "Cache-Control: max-age=10", kPass},
    {"3: other statuses pass", 401, "Cache-Control: max-age=10", kPass},
    {"3: other statuses pass", 429, "Cache-Control: max-age=10", kPass},
    {"3: errors of servers pass", 500, "Cache-Control: max-age=10", kPass},
    {"3: errors of servers pass", 503, "Cache-Control: public, max-age=10", kPass},
    {"3: no status at all", 0, "", kPass},
    {"5.2.2.5", 200, "Cache-Control: no-store", kPass},
    {"5.2.2.5", 200, "Cache-Control: max-age=60, no-store", kPass},
    {"5.2.2.5: in a second line", 200, "Cache-Control: max-age=60\nCache-Control: no-store", kPass},
    {"5.2.2.3: we know the status", 200, "Cache-Control: no-store, must-understand, max-age=9",
     kStore, 9},
    {"5.2.2.7", 200, "Cache-Control: private, max-age=60", kPass},
    {"5.2.2.7: with fields as without", 200, "Cache-Control: private=\"x\", max-age=60", kPass},
    {"5.2: malformed", 200, "Cache-Control: max-age=60, \"", kPass},
    {"5.2.3: unknown directives are ignored", 200, "Cache-Control: max-age=60, immutable, x=\"y\"",
     kStore, 60},
    {"7.3: Set-Cookie does not inhibit", 200, "Set-Cookie: a=b", kStore, 60},

    // Vary.
    {"4.1: our requests are alike", 200, "Vary: Accept-Encoding", kStore, 60},
    {"4.1: we never send that", 200, "Vary: Cookie, Accept-Language,Origin", kStore, 60},
    {"4.1: anything at all", 200, "Vary: *", kPass},
    {"4.1: anything at all", 200, "Vary: Accept-Encoding, *", kPass},
    {"4.1: a second line", 200, "Vary: Accept-Encoding\nVary: *", kPass},
    {"4.1: differs between our requests", 200, "Vary: range", kPass},
    {"4.1: differs between our requests", 200, "Vary: If-None-Match", kPass},
    {"4.1: not a name", 200, "Vary: a b", kPass},
    {"4.1: empty", 200, "Vary:", kStore, 60},

    // Lifetimes.
    {"4.2.1: s-maxage before all", 200,
     "Cache-Control: max-age=60, s-maxage=10\nExpires: Sun, 06 Nov 1994 09:49:37 GMT", kStore, 10,
     0, true},
    {"4.2.1: max-age before Expires", 200,
     "Cache-Control: max-age=7\nExpires: Sun, 06 Nov 1994 09:49:37 GMT", kStore, 7},
    {"4.2.1: Expires less Date", 200,
     "Date: Sun, 06 Nov 1994 08:49:37 GMT\nExpires: Sun, 06 Nov 1994 08:51:17 GMT", kStore, 100},
    {"5.3: Expires without Date", 200, "Expires: Sun, 06 Nov 1994 08:49:47 GMT", kStore, 10},
    {"5.3: Date is malformed", 200, "Date: today\nExpires: Sun, 06 Nov 1994 08:49:47 GMT", kStore,
     10},
    {"5.3: obsolete forms of dates", 200, "Expires: Sunday, 06-Nov-94 08:49:47 GMT", kStore, 10},
    {"5.3: obsolete forms of dates", 200, "Expires: Sun Nov  6 08:49:47 1994", kStore, 10},
    {"5.3: 0 is in the past", 200, "Expires: 0\nETag: \"a\"", kStore, 0},
    {"5.3: malformed is in the past", 200, "Expires: tomorrow\nETag: \"a\"", kStore, 0},
    {"5.3: beyond all years", 200, "Expires: infinite-future\nETag: \"a\"", kStore, 0},
    {"5.3: the past", 200, "Expires: Sun, 06 Nov 1984 08:49:37 GMT\nETag: \"a\"", kStore, 0},
    {"5.3: far away", 200, "Expires: Fri, 31 Dec 9999 23:59:59 GMT", kStore, 2147483648},
    {"4.2.1: of several Expires the earliest", 200,
     "Expires: Sun, 06 Nov 1994 08:50:37 GMT\nExpires: Sun, 06 Nov 1994 08:49:47 GMT", kStore, 10},
    {"4.2.1: of several Expires the unreadable", 200,
     "Expires: Sun, 06 Nov 1994 08:50:37 GMT\nExpires: -1\nETag: \"a\"", kStore, 0},
    {"4.2.1: of several max-age the smallest", 200, "Cache-Control: max-age=60, max-age=10", kStore,
     10},
    {"4.2.1: unreadable is stale", 200, "Cache-Control: max-age=ten\nETag: \"a\"", kStore, 0},
    {"1.2.2: overflow", 200, "Cache-Control: max-age=99999999999999999999", kStore, 2147483648},
    {"5.2.2.1: stale at once, but it can be validated", 200,
     "Cache-Control: max-age=0\nLast-Modified: Sun, 06 Nov 1994 08:48:37 GMT", kStore, 0},
    {"4.2: never of use again", 200, "Cache-Control: max-age=0", kShare, 0},
    {"4.2: never of use again, but while it is revalidated", 200,
     "Cache-Control: max-age=0, stale-while-revalidate=5", kStore, 0, 0, false, 5},
    {"5.2.2.4", 200, "Cache-Control: no-cache\nETag: \"a\"", kStore, 0, 0, true},
    {"5.2.2.4: before max-age", 200, "Cache-Control: no-cache, max-age=60\nETag: \"a\"", kStore, 0,
     0, true},
    {"5.2.2.4: with fields as without", 200,
     "Cache-Control: no-cache=\"x\", max-age=60\nETag: \"a\"", kStore, 0, 0, true},
    {"5.2.2.4: nothing to validate by", 200, "Cache-Control: no-cache", kShare, 0, 0, true},
    {"5.4: Pragma where Cache-Control is missing", 200, "Pragma: no-cache\nETag: \"a\"", kStore, 0,
     0, true},
    {"5.4: Cache-Control is there", 200, "Pragma: no-cache\nCache-Control: max-age=5", kStore, 5},
    {"5.4: another Pragma", 200, "Pragma: x", kStore, 60},

    // Age.
    {"4.2.3: Age", 200, "Age: 20\nCache-Control: max-age=60", kStore, 60, 20},
    {"4.2.3: apparent age", 200, "Date: Sun, 06 Nov 1994 08:48:37 GMT\nCache-Control: max-age=100",
     kStore, 100, 60},
    {"4.2.3: the larger of both", 200,
     "Age: 61\nDate: Sun, 06 Nov 1994 08:48:37 GMT\nCache-Control: max-age=100", kStore, 100, 61},
    {"4.2.3: a clock that is ahead", 200,
     "Date: Sun, 06 Nov 1994 09:49:37 GMT\nCache-Control: max-age=100", kStore, 100, 0},
    {"5.1: malformed is ignored", 200, "Age: -5\nCache-Control: max-age=60", kStore, 60, 0},
    {"5.1: of several the largest", 200, "Age: 1\nAge: 5\nCache-Control: max-age=60", kStore, 60,
     5},
    {"1.2.2: overflow", 200, "Age: 99999999999999999999\nETag: \"a\"", kStore, 60, 2147483648},
    {"4.2: too old when it came, without validator", 200, "Age: 60\nCache-Control: max-age=60",
     kShare, 60, 60},

    // Staleness.
    {"5.2.2.2", 200,
     "Cache-Control: max-age=5, must-revalidate, stale-if-error=9, stale-while-revalidate=9",
     kStore, 5, 0, true},
    {"5.2.2.8", 200, "Cache-Control: max-age=5, proxy-revalidate, stale-if-error=9", kStore, 5, 0,
     true},
    {"5.2.2.10: s-maxage is proxy-revalidate too", 200,
     "Cache-Control: s-maxage=5, stale-while-revalidate=9", kStore, 5, 0, true},
    {"RFC 5861, 3", 200, "Cache-Control: max-age=5, stale-while-revalidate=9", kStore, 5, 0, false,
     9},
    {"RFC 5861, 4", 200, "Cache-Control: max-age=5, stale-if-error=9", kStore, 5, 0, false, 0, 9},
    {"RFC 5861: unreadable", 200, "Cache-Control: max-age=5, stale-if-error=x", kStore, 5},
    {"RFC 5861: twice", 200, "Cache-Control: max-age=5, stale-if-error=9, stale-if-error=3", kStore,
     5, 0, false, 0, 3},

    // Negative answers.
    {"3: 404 for negative_ttl", 404, "", kStore, 5, 0, true},
    {"3: 410 for negative_ttl", 410, "", kStore, 5, 0, true},
    {"3: 404 for less", 404, "Cache-Control: max-age=2", kStore, 2, 0, true},
    {"3: 404 never for more", 404, "Cache-Control: max-age=31536000", kStore, 5, 0, true},
    {"3: 404 is never stale", 404, "Cache-Control: max-age=2, stale-if-error=9", kStore, 2, 0,
     true},
    {"3: 404 no-store", 404, "Cache-Control: no-store", kPass},
    {"3: 404 is not validated", 404, "Cache-Control: no-cache\nETag: \"a\"", kShare, 0, 0, true},
    {"RFC 9110, 15.1: 403 says nothing", 403, "", kShare},
    {"3: 403 with a lifetime", 403, "Cache-Control: max-age=3", kStore, 3, 0, true},
    {"3: 403 with a lifetime", 403, "Cache-Control: public", kStore, 5, 0, true},

    // Redirects that were followed.
    {"RFC 9110, 15.4.2", 301, "Location: /b", kStore, 60},
    {"RFC 9110, 15.4.9", 308, "Cache-Control: max-age=3", kStore, 3},
    {"RFC 9110, 15.4.3: only with a lifetime", 302, "Location: /b", kShare},
    {"RFC 9110, 15.4.3", 302, "Cache-Control: max-age=3", kStore, 3},
    {"RFC 9110, 15.4.8: only with a lifetime", 307, "Location: /b", kShare},
    {"5.2.2.5: a redirect", 301, "Cache-Control: no-store", kPass},
    {"3: not one that is followed", 300, "", kPass},
};

TEST(DecideCaching, FollowsRfc9111) {
  for (const DecisionCase& c : kDecisions) {
    SCOPED_TRACE(std::string(c.section) + " | " + std::to_string(c.status) + " " +
                 std::string(c.lines));
    const CacheDecision decision = Decide(c.status, c.lines);
    EXPECT_EQ(decision.storing, c.storing) << decision.reason;
    EXPECT_EQ(std::string_view(decision.reason).empty(), c.storing == kStore);
    EXPECT_EQ(decision.negative, c.status == 403 || c.status == 404 || c.status == 410);
    if (c.storing == kPass) continue;
    EXPECT_EQ(decision.lifetime, seconds(c.lifetime_s));
    EXPECT_EQ(decision.age, seconds(c.age_s));
    EXPECT_EQ(decision.must_revalidate, c.must_revalidate);
    EXPECT_EQ(decision.stale_while_revalidate, seconds(c.stale_while_revalidate_s));
    EXPECT_EQ(decision.stale_if_error, seconds(c.stale_if_error_s));
  }
}

/// Section 3.5.
TEST(DecideCaching, AnswersToAuthorizedRequestsAreSharedOnlyIfTheOriginSaysSo) {
  EXPECT_EQ(Decide(200, "Cache-Control: max-age=60", true).storing, kPass);
  EXPECT_EQ(Decide(200, "", true).storing, kPass);
  EXPECT_EQ(Decide(200, "Cache-Control: max-age=60, public", true).storing, kStore);
  EXPECT_EQ(Decide(200, "Cache-Control: max-age=60, must-revalidate", true).storing, kStore);
  EXPECT_EQ(Decide(200, "Cache-Control: s-maxage=60", true).storing, kStore);
  EXPECT_EQ(Decide(200, "Cache-Control: public\nVary: Authorization", true).storing, kPass);
  EXPECT_EQ(Decide(200, "Cache-Control: public\nVary: Authorization", false).storing, kStore);
}

/// Section 4.2.3: the request's time on the way counts.
TEST(DecideCaching, TheDelayOfTheAnswerIsAddedToItsAge) {
  const auto fields = Fields("Age: 5");
  OriginAnswer answer{
      .status = 200, .fields = fields, .requested_unix_s = kNow - 10, .received_unix_s = kNow};
  EXPECT_EQ(DecideCaching(answer, {}).age, seconds(15));
  answer.requested_unix_s = kNow + 100;  // the clock was set back
  EXPECT_EQ(DecideCaching(answer, {}).age, seconds(5));
}

TEST(DecideCaching, NoTimesOverflow) {
  for (const std::int64_t requested : {INT64_MIN, std::int64_t{0}, INT64_MAX}) {
    for (const std::int64_t received : {INT64_MIN, std::int64_t{0}, INT64_MAX}) {
      const auto fields = Fields(
          "Date: Fri, 31 Dec 9999 23:59:59 GMT\nAge: 99999999999\nExpires: Sun, 06 Nov 1994 "
          "08:48:37 GMT\nETag: \"a\"");
      const CacheDecision decision = DecideCaching({.status = 200,
                                                    .fields = fields,
                                                    .requested_unix_s = requested,
                                                    .received_unix_s = received},
                                                   {});
      EXPECT_EQ(decision.age, seconds(2147483648));
      EXPECT_EQ(decision.lifetime, seconds(0));
    }
  }
}

TEST(DecideCaching, OptionsGiveWhatTheOriginDoesNotSay) {
  const CachePolicyOptions options{
      .ttl = seconds(7), .negative_ttl = seconds(0), .stale_if_error = seconds(30)};
  const OriginAnswer found{
      .status = 200, .fields = {}, .requested_unix_s = kNow, .received_unix_s = kNow};
  EXPECT_EQ(DecideCaching(found, options).lifetime, seconds(7));
  EXPECT_EQ(DecideCaching(found, options).stale_if_error, seconds(30));
  const OriginAnswer missing{
      .status = 404, .fields = {}, .requested_unix_s = kNow, .received_unix_s = kNow};
  EXPECT_EQ(DecideCaching(missing, options).storing, kShare);
}

TEST(DecideCaching, AHeadThatIsTooLargePasses) {
  const std::string large(kStoredFieldsBytesMax, 'x');
  const std::vector<HttpField> fields = {{"Content-Disposition", large}};
  const CacheDecision decision = DecideCaching(
      {.status = 200, .fields = fields, .requested_unix_s = kNow, .received_unix_s = kNow}, {});
  EXPECT_EQ(decision.storing, kPass);
}

TEST(Restrict, AllowsWhatTheAnswerAndItsRedirectAllow) {
  const CacheDecision answer =
      Decide(200, "Age: 10\nCache-Control: max-age=60, stale-if-error=9, stale-while-revalidate=1");
  const CacheDecision redirect =
      Decide(301, "Age: 5\nCache-Control: max-age=25, stale-if-error=3, stale-while-revalidate=3");
  const CacheDecision both = Restrict(answer, redirect);
  EXPECT_EQ(both.storing, kStore);
  EXPECT_EQ(both.age, seconds(10));
  EXPECT_EQ(both.lifetime, seconds(30)) << "20 s from now on, as the redirect has";
  EXPECT_EQ(both.stale_if_error, seconds(3));
  EXPECT_EQ(both.stale_while_revalidate, seconds(1));
  EXPECT_EQ(Restrict(answer, Decide(301, "")).lifetime, seconds(60));
  EXPECT_EQ(Restrict(answer, Decide(301, "Age: 99\nCache-Control: max-age=9")).lifetime,
            answer.age);
  EXPECT_EQ(Restrict(answer, Decide(302, "")).storing, kShare);
  EXPECT_EQ(Restrict(answer, Decide(301, "Cache-Control: private")).storing, kPass);
  EXPECT_STREQ(Restrict(answer, Decide(301, "Cache-Control: private")).reason, "private");
  EXPECT_TRUE(Restrict(answer, Decide(301, "Cache-Control: must-revalidate")).must_revalidate);
  EXPECT_EQ(Restrict(Decide(200, "Cache-Control: no-store"), redirect).storing, kPass);
}

// ---- Validation.

StoredFields Stored(std::string_view lines) { return KeepFields(200, kNow, Fields(lines)); }

/// Section 4.3.1.
TEST(ConditionalFields, SendAllValidators) {
  EXPECT_THAT(ConditionalFields(View(Stored(""))), IsEmpty());
  EXPECT_THAT(ConditionalFields(View(Stored("ETag: W/\"a\""))),
              ElementsAre(OwnedHttpField{"If-None-Match", "W/\"a\""}));
  const std::string modified(kEarlierText);
  EXPECT_THAT(ConditionalFields(View(Stored("Last-Modified: " + modified + "\nETag: \"a\""))),
              ElementsAre(OwnedHttpField{"If-None-Match", "\"a\""},
                          OwnedHttpField{"If-Modified-Since", modified}));
}

/// RFC 9110 sections 13.1.5 and 8.8.2.2.
/// RFC 5861 section 4.
TEST(MayServeOnError, IsForAsLongAsTheOriginHasAllowed) {
  using std::chrono::nanoseconds;
  struct Case {
    std::string_view fields;
    seconds stale_for;
    bool allowed;
  };
  const Case cases[] = {
      {"", seconds(0), false},
      {"Cache-Control: max-age=60", seconds(0), false},
      {"Cache-Control: stale-while-revalidate=60", seconds(0), false},
      {"Cache-Control: max-age=0, stale-if-error=10", seconds(0), true},
      {"Cache-Control: max-age=0, stale-if-error=10", seconds(9), true},
      {"Cache-Control: max-age=0, stale-if-error=10", seconds(10), false},
      {"Cache-Control: stale-if-error=10\nCache-Control: stale-if-error=5", seconds(5), false},
      {"Cache-Control: stale-if-error=soon", seconds(0), false},
      {"Cache-Control: stale-if-error=99999999999", seconds(2147483647), true},
      {"Cache-Control: stale-if-error=99999999999", seconds(2147483648), false},
      {"Pragma: stale-if-error=10", seconds(0), false},
  };
  for (const auto& [fields, stale_for, allowed] : cases) {
    const StoredFields stored = Stored(fields);
    EXPECT_EQ(MayServeOnError(View(stored), false, stale_for, {}), allowed)
        << fields << ", after " << stale_for.count() << " s";
    EXPECT_FALSE(MayServeOnError(View(stored), true, stale_for, {})) << fields;
  }
  const StoredFields stored = Stored("Cache-Control: stale-if-error=10");
  EXPECT_TRUE(MayServeOnError(View(stored), false, seconds(10) - nanoseconds(1), {}));
}

TEST(MayServeOnError, IsTheOperatorsChoiceWhereTheOriginSaysNothing) {
  const CachePolicyOptions options{.stale_if_error = seconds(30)};
  const StoredFields silent = Stored("Cache-Control: max-age=60");
  EXPECT_TRUE(MayServeOnError(View(silent), false, seconds(29), options));
  EXPECT_FALSE(MayServeOnError(View(silent), false, seconds(30), options));
  EXPECT_FALSE(MayServeOnError(View(silent), true, seconds(0), options));
  const StoredFields said = Stored("Cache-Control: stale-if-error=1");
  EXPECT_FALSE(MayServeOnError(View(said), false, seconds(1), options));
}

/// What is decided when an answer comes and what is done when the origin fails are one policy.
TEST(MayServeOnError, AgreesWithTheDecision) {
  for (const DecisionCase& c : kDecisions) {
    const CacheDecision decision = Decide(c.status, c.lines);
    if (c.status != 200 || decision.storing != kStore) continue;
    const StoredFields stored = Stored(c.lines);
    const auto allowed = [&](seconds stale_for) {
      return MayServeOnError(View(stored), decision.must_revalidate, stale_for, {});
    };
    EXPECT_FALSE(allowed(decision.stale_if_error)) << c.section;
    EXPECT_EQ(allowed(seconds(0)), decision.stale_if_error > seconds(0)) << c.section;
  }
}

TEST(RangeValidator, IsStrongOrMissing) {
  const std::string now(kNowText);
  const std::string earlier(kEarlierText);
  EXPECT_EQ(RangeValidator(View(Stored("ETag: \"a\""))), "\"a\"");
  EXPECT_EQ(RangeValidator(View(Stored(""))), std::nullopt);
  EXPECT_EQ(RangeValidator(View(Stored("ETag: W/\"a\""))), std::nullopt);
  EXPECT_EQ(RangeValidator(View(Stored("ETag: W/\"a\"\nLast-Modified: " + earlier))), earlier);
  EXPECT_EQ(RangeValidator(View(Stored("Last-Modified: " + earlier))), earlier);
  EXPECT_EQ(RangeValidator(View(Stored("Last-Modified: " + now))), std::nullopt)
      << "it may have changed twice in that second";
  EXPECT_EQ(RangeValidator(View(Stored("Last-Modified: yesterday"))), std::nullopt);
}

std::optional<Refreshed> RefreshBy(const StoredFields& stored, std::string_view lines,
                                   std::int64_t received = kNow + 100) {
  const std::vector<HttpField> fields = Fields(lines);
  return Refresh(
      View(stored),
      {.status = 304, .fields = fields, .requested_unix_s = received, .received_unix_s = received},
      CachePolicyOptions{});
}

/// Sections 3.2 and 4.3.4.
TEST(Refresh, BringsTheFieldsOfThe304AndKeepsTheRest) {
  const StoredFields stored = Stored(
      "ETag: \"a\"\nContent-Type: text/plain\nContent-Encoding: br\nCache-Control: max-age=5\n"
      "X-A: 1\nX-B: 1\nX-B: 2\nDate: Sun, 06 Nov 1994 08:48:37 GMT");
  const auto refreshed =
      RefreshBy(stored,
                "ETag: \"a\"\nContent-Type: text/html\nContent-Encoding: gzip\nContent-Length: 0\n"
                "cache-control: max-age=50, must-revalidate\nx-b: 3\nX-C: 4\nAge: 7\n"
                "Date: Sun, 06 Nov 1994 08:49:37 GMT");
  ASSERT_TRUE(refreshed);
  EXPECT_EQ(refreshed->fields.status, 200);
  EXPECT_EQ(refreshed->fields.date_unix_s, kNow);
  EXPECT_EQ(refreshed->fields.content_type, "text/plain") << "it belongs to the body";
  EXPECT_EQ(refreshed->fields.etag, "\"a\"");
  EXPECT_EQ(refreshed->fields.further,
            "Content-Encoding: br\r\nX-A: 1\r\ncache-control: max-age=50, must-revalidate\r\n"
            "x-b: 3\r\nX-C: 4\r\n");
  EXPECT_EQ(refreshed->decision.storing, kStore);
  EXPECT_EQ(refreshed->decision.lifetime, seconds(50));
  EXPECT_EQ(refreshed->decision.age, seconds(100)) << "by Date; more than Age";
  EXPECT_TRUE(refreshed->decision.must_revalidate);
}

TEST(Refresh, A304ThatSaysNothingBeginsTheStoredLifetimeAnew) {
  const StoredFields stored =
      Stored("ETag: \"a\"\nCache-Control: max-age=5\nDate: Sun, 06 Nov 1994 08:48:37 GMT");
  const auto refreshed = RefreshBy(stored, "");
  ASSERT_TRUE(refreshed);
  EXPECT_EQ(refreshed->decision.lifetime, seconds(5));
  EXPECT_EQ(refreshed->decision.age, seconds(0));
  EXPECT_EQ(refreshed->fields.further, stored.further);
  EXPECT_EQ(refreshed->fields.date_unix_s, kNow + 100);
}

TEST(Refresh, A304MayForbidToKeepWhatIsStored) {
  const auto refreshed = RefreshBy(Stored("ETag: \"a\""), "Cache-Control: no-store");
  ASSERT_TRUE(refreshed);
  EXPECT_EQ(refreshed->decision.storing, kPass);
}

TEST(Refresh, A304AboutAnotherVersionIsOfNoUse) {
  const StoredFields strong = Stored("ETag: \"a\"\nLast-Modified: " + std::string(kEarlierText));
  const StoredFields weak = Stored("ETag: W/\"a\"");
  const StoredFields dated = Stored("Last-Modified: " + std::string(kEarlierText));
  EXPECT_TRUE(RefreshBy(strong, "ETag: \"a\""));
  EXPECT_TRUE(RefreshBy(strong, "ETag: W/\"a\""));
  EXPECT_TRUE(RefreshBy(weak, "ETag: W/\"a\""));
  EXPECT_TRUE(RefreshBy(dated, "Last-Modified: " + std::string(kEarlierText)));
  EXPECT_TRUE(RefreshBy(dated, ""));
  EXPECT_FALSE(RefreshBy(strong, "ETag: \"b\""));
  EXPECT_FALSE(RefreshBy(weak, "ETag: \"a\"")) << "a strong one that is not stored";
  EXPECT_FALSE(RefreshBy(weak, "ETag: W/\"b\""));
  EXPECT_FALSE(RefreshBy(dated, "ETag: \"b\""));
  EXPECT_FALSE(RefreshBy(dated, "Last-Modified: " + std::string(kNowText)));
}

TEST(Refresh, FieldsThatDoNotFitAreOfNoUse) {
  const StoredFields stored = Stored("ETag: \"a\"\nX-A: " + std::string(5000, 'x'));
  EXPECT_FALSE(RefreshBy(stored, "X-B: " + std::string(5000, 'x')));
  EXPECT_TRUE(RefreshBy(stored, "X-A: " + std::string(5000, 'y')));
}

}  // namespace
}  // namespace ds::ipc_proxy_cache
