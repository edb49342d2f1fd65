// The little that the emulator's tests need of a test framework. main.cc runs the cases and prints one line
// of JSON for each; test/emulator/emulator.test.ts turns those into ava's.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "test/emulator/emulator.h"

namespace repvgg::emulator {

struct Case {
  std::string name;
  std::function<void()> run;
};
std::vector<Case>& cases();

struct Registration {
  Registration(std::string name, std::function<void()> run) {
    cases().push_back({std::move(name), std::move(run)});
  }
};

// Marks the running case as failed.
void Fail(const std::string& why);
// What is shown beside the running case's name.
void Note(const std::string& text);
// Fails with the reports of memory faults, if there are any.
void ExpectNoFaults();

#define REPVGG_JOIN2(a, b) a##b
#define REPVGG_JOIN(a, b) REPVGG_JOIN2(a, b)
#define TEST(name)                                                                   \
  static void REPVGG_JOIN(TestCase, __LINE__)();                                     \
  static const ::repvgg::emulator::Registration REPVGG_JOIN(registration, __LINE__)( \
      name, REPVGG_JOIN(TestCase, __LINE__));                                        \
  static void REPVGG_JOIN(TestCase, __LINE__)()

// An allocation with the contents of a vector, or an output.
template <typename T>
class DeviceArray {
 public:
  explicit DeviceArray(const std::vector<T>& values, Contents contents = Contents::kInput)
      : DeviceArray(values.size(), contents) {
    for (size_t i = 0; i < values.size(); ++i) data_[i] = values[i];
  }
  explicit DeviceArray(size_t size, Contents contents = Contents::kOutput)
      : data_(static_cast<T*>(Allocate(size * sizeof(T), contents))), size_(size) {}
  ~DeviceArray() { Free(data_); }
  DeviceArray(const DeviceArray&) = delete;
  DeviceArray& operator=(const DeviceArray&) = delete;

  T* data() const { return data_; }
  size_t size() const { return size_; }
  const T& operator[](size_t i) const { return data_[i]; }

 private:
  T* data_;
  size_t size_;
};

// How far `got` is from `expected`: the thresholds of docs/kernels.md are in these terms.
struct Distance {
  double relative_l2 = 0;  // |got - expected| / |expected|
  double max = 0;          // Largest |got - expected|, over the standard deviation of `expected`.
};
Distance Compare(const std::vector<double>& got, const std::vector<double>& expected);
// The worst distance of a case is shown beside its name.
void ExpectWithin(const Distance& distance, const Distance& bound);

}  // namespace repvgg::emulator
