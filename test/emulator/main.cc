// emulator_tests [--list] [--from NAME] [--share K/N] [part of a name ...]: runs the cases, one line of JSON
// each, from one on, or share K (from 0) of N. Exit code 3 and a line {"fatal": WHY} if a case throws: on a
// GPU, what follows in this process would fail too.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <exception>

#include "test/emulator/test.h"

namespace repvgg::emulator {
namespace {

std::string failure;
std::string note;
Distance worst;

std::string Quoted(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    if (c == '\n') {
      out += "\\n";
    } else {
      out += c;
    }
  }
  return out + '"';
}

}  // namespace

std::vector<Case>& cases() {
  static std::vector<Case> value;
  return value;
}

void Fail(const std::string& why) { failure += (failure.empty() ? "" : "\n") + why; }

void Note(const std::string& text) { note = text; }

void ExpectNoFaults() {
  for (const Report& report : TakeReports()) Fail(report.message);
}

Distance Compare(const std::vector<double>& got, const std::vector<double>& expected) {
  double sum = 0, square = 0, error = 0, largest = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    const double difference = std::abs(got[i] - expected[i]);
    sum += expected[i];
    square += expected[i] * expected[i];
    error += difference * difference;
    // A comparison that is false for NaN must not hide it.
    if (!(difference <= largest)) largest = difference;
  }
  const double count = static_cast<double>(expected.size());
  const double deviation = std::sqrt(square / count - sum / count * sum / count);
  return {std::sqrt(error / square), largest / deviation};
}

void ExpectWithin(const Distance& distance, const Distance& bound) {
  worst.relative_l2 = std::max(worst.relative_l2, distance.relative_l2);
  worst.max = std::max(worst.max, distance.max);
  char text[120];
  std::snprintf(text, sizeof text, "relL2 %.1e, max %.1e", worst.relative_l2, worst.max);
  Note(text);
  if (distance.relative_l2 <= bound.relative_l2 && distance.max <= bound.max) return;
  std::snprintf(text, sizeof text, "relL2 %.2e and max %.2e should be within %.2e and %.2e",
                distance.relative_l2, distance.max, bound.relative_l2, bound.max);
  Fail(text);
}

}  // namespace repvgg::emulator

int main(int argc, char** argv) {
  using namespace repvgg::emulator;
  bool list = false, begun = true, all_passed = true;
  std::string from;
  size_t share = 0, shares = 1, number = 0;
  std::vector<std::string> parts;
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--list") == 0) {
      list = true;
    } else if (std::strcmp(argv[i], "--from") == 0 && i + 1 < argc) {
      from = argv[++i];
      begun = false;
    } else if (std::strcmp(argv[i], "--share") == 0 && i + 1 < argc) {
      if (std::sscanf(argv[++i], "%zu/%zu", &share, &shares) != 2 || share >= shares) return 2;
    } else {
      parts.push_back(argv[i]);
    }
  }
  for (const Case& test : cases()) {
    begun |= test.name == from;
    const bool wanted = parts.empty() || std::ranges::any_of(parts, [&](const std::string& part) {
                          return test.name.find(part) != std::string::npos;
                        });
    if (!begun || !wanted || number++ % shares != share) continue;
    if (list) {
      std::printf("%s\n", Quoted(test.name).c_str());
      continue;
    }
    failure.clear();
    note.clear();
    worst = {};
    settings() = Settings{};
    const std::clock_t start = std::clock();
    try {
      test.run();
    } catch (const std::exception& error) {
      std::printf("{\"fatal\": %s}\n", Quoted(error.what()).c_str());
      std::fflush(stdout);  // Ending may hang on a device that is lost.
      return 3;
    }
    ExpectNoFaults();
    const double took = 1e3 * static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
    std::printf("{\"name\": %s, \"ok\": %s, \"ms\": %.0f, \"detail\": %s}\n", Quoted(test.name).c_str(),
                failure.empty() ? "true" : "false", took, Quoted(failure.empty() ? note : failure).c_str());
    std::fflush(stdout);
    all_passed &= failure.empty();
  }
  return all_passed ? 0 : 1;
}
