#include "engine/jpeg.h"

#ifdef REPVGG_LIBJPEG

#include <jpeglib.h>

#include <csetjmp>
#include <cstdio>
#include <cstring>
#include <vector>

#define REPVGG_STRING(value) #value
#define REPVGG_EXPANDED(value) REPVGG_STRING(value)

namespace repvgg {
namespace {

constexpr uint64_t kMostPixels = uint64_t{0x3fff} * 0x3fff;  // sharp's limit.
constexpr int kMostScans = 100;                              // libvips' limit.
constexpr long kMostMemory = 256 << 20;
constexpr int kExif = JPEG_APP0 + 1;

// The orientation in an EXIF block (TIFF 6.0: header, then the entries of the first directory), 1 if there is
// none.
int ExifOrientation(const uint8_t* data, size_t size) {
  constexpr size_t kHead = 6;  // "Exif\0\0"
  constexpr size_t kEntry = 12;
  constexpr uint32_t kOrientationTag = 0x0112;
  if (size < kHead + 8 || std::memcmp(data, "Exif\0", kHead) != 0) return 1;
  data += kHead;
  size -= kHead;
  const bool little = data[0] == 'I';
  const auto read = [&](size_t at, int bytes) {
    uint32_t value = 0;
    for (int i = 0; i < bytes; ++i) value |= uint32_t{data[at + i]} << 8 * (little ? i : bytes - 1 - i);
    return value;
  };
  const size_t directory = read(4, 4);
  if (directory > size - 2) return 1;
  const size_t entries = read(directory, 2);
  for (size_t i = 0; i < entries; ++i) {
    const size_t entry = directory + 2 + i * kEntry;
    if (entry > size - kEntry) return 1;
    if (read(entry, 2) == kOrientationTag) return static_cast<int>(read(entry + 8, 2));
  }
  return 1;
}

}  // namespace

// The library reports by calling back, and must not return from an error: it jumps out of its own C frames,
// and the exception is thrown from ours.
struct JpegReader::State {
  jpeg_decompress_struct jpeg;
  jpeg_error_mgr errors;
  jpeg_progress_mgr progress;
  std::jmp_buf refused;

  [[noreturn]] static void Refuse(j_common_ptr jpeg) {
    std::longjmp(static_cast<State*>(jpeg->client_data)->refused, 1);
  }

  template <typename Call>
  [[gnu::noinline]] void Guard(Call call) {
    if (setjmp(refused) != 0) throw JpegRefused();
    call();
  }
};

const char* JpegLibrary() { return "libjpeg-turbo " REPVGG_EXPANDED(LIBJPEG_TURBO_VERSION); }

JpegReader::JpegReader(const uint8_t* data, size_t size, bool orient) : state_(std::make_unique<State>()) {
  State& state = *state_;
  jpeg_decompress_struct& jpeg = state.jpeg;
  std::memset(&jpeg, 0, sizeof jpeg);  // ~JpegReader can then be called at any time.
  jpeg.err = jpeg_std_error(&state.errors);
  jpeg.client_data = &state;
  state.errors.error_exit = State::Refuse;
  state.errors.emit_message = [](j_common_ptr common, int level) {
    if (level < 0) State::Refuse(common);  // A warning: the data is damaged.
  };
  state.progress.progress_monitor = [](j_common_ptr common) {
    if (reinterpret_cast<j_decompress_ptr>(common)->input_scan_number > kMostScans) State::Refuse(common);
  };
  try {
    state.Guard([&] {
      jpeg_create_decompress(&jpeg);
      jpeg.progress = &state.progress;
      jpeg.mem->max_memory_to_use = kMostMemory;
      if (orient) jpeg_save_markers(&jpeg, kExif, 0xffff);
      jpeg_mem_src(&jpeg, data, size);
      jpeg_read_header(&jpeg, TRUE);
    });
    if (jpeg.num_components != 1 && jpeg.num_components != 3) throw JpegRefused();
    if (uint64_t{jpeg.image_width} * jpeg.image_height > kMostPixels) throw JpegRefused();
    for (auto* marker = jpeg.marker_list; marker != nullptr; marker = marker->next) {
      if (marker->marker == kExif && ExifOrientation(marker->data, marker->data_length) != 1)
        throw JpegRefused();
    }
    jpeg.out_color_space = JCS_RGB;
    state.Guard([&] { jpeg_start_decompress(&jpeg); });
  } catch (...) {
    jpeg_destroy_decompress(&jpeg);
    throw;
  }
}

JpegReader::~JpegReader() { jpeg_destroy_decompress(&state_->jpeg); }

int JpegReader::width() const { return static_cast<int>(state_->jpeg.output_width); }
int JpegReader::height() const { return static_cast<int>(state_->jpeg.output_height); }

void JpegReader::ReadRow(uint8_t* row) {
  state_->Guard([&] { jpeg_read_scanlines(&state_->jpeg, &row, 1); });
}

void JpegReader::Finish() {
  jpeg_decompress_struct& jpeg = state_->jpeg;
  std::vector<uint8_t> row(size_t{jpeg.output_width} * 3);
  while (jpeg.output_scanline < jpeg.output_height) ReadRow(row.data());
  state_->Guard([&] { jpeg_finish_decompress(&jpeg); });
}

}  // namespace repvgg

#else

namespace repvgg {

struct JpegReader::State {};

const char* JpegLibrary() { return nullptr; }
JpegReader::JpegReader(const uint8_t*, size_t, bool) { throw JpegRefused(); }
JpegReader::~JpegReader() = default;
int JpegReader::width() const { return 0; }
int JpegReader::height() const { return 0; }
void JpegReader::ReadRow(uint8_t*) {}
void JpegReader::Finish() {}

}  // namespace repvgg

#endif
