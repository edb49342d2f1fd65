#include "engine/jpeg.h"

#ifdef REPVGG_LIBJPEG

#include <jpeglib.h>

#include <algorithm>
#include <csetjmp>
#include <cstdio>
#include <cstring>
#include <vector>

#define REPVGG_STRING(value) #value
#define REPVGG_EXPANDED(value) REPVGG_STRING(value)

namespace repvgg {
namespace {

constexpr int kChannels = 3;
constexpr uint64_t kMostPixels = uint64_t{0x3fff} * 0x3fff;  // sharp's limit.
constexpr int kMostScans = 100;                              // libvips' limit.
constexpr long kMostMemory = 256 << 20;
constexpr int kExif = JPEG_APP0 + 1;
// libjpeg outputs at most as many rows at a time as the largest vertical sampling factor.
constexpr int kMostRowsAtOnce = MAX_SAMP_FACTOR;

// The orientation tag of an EXIF segment (TIFF 6.0: a header, then the entries of the first directory); 1 if
// absent.
int ExifOrientation(const uint8_t* data, size_t size) {
  constexpr size_t kHead = 6;    // "Exif\0\0"
  constexpr size_t kEntry = 12;  // Tag, type, count, value.
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
    if (entry + kEntry > size) return 1;
    if (read(entry, 2) == kOrientationTag) return static_cast<int>(read(entry + 8, 2));
  }
  return 1;
}

}  // namespace

// libjpeg reports errors through a callback that must not return. Exceptions must not unwind through its C
// frames either, so the callback jumps to Guard, which throws.
struct JpegReader::State {
  jpeg_decompress_struct jpeg;
  jpeg_error_mgr errors;
  jpeg_progress_mgr progress;
  std::jmp_buf refused;

  // The rows of the latest jpeg_read_scanlines.
  std::vector<uint8_t> rows;
  uint8_t* row[kMostRowsAtOnce];
  JDIMENSION next = 0;
  JDIMENSION available = 0;
  size_t skipped = 0;  // Bytes of each row in front of the region.

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
  std::memset(&jpeg, 0, sizeof jpeg);  // jpeg_destroy_decompress may then be called at any time.
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

int JpegReader::width() const { return static_cast<int>(state_->jpeg.image_width); }
int JpegReader::height() const { return static_cast<int>(state_->jpeg.image_height); }

void JpegReader::Select(const Region& region) {
  State& state = *state_;
  jpeg_decompress_struct& jpeg = state.jpeg;
  // libjpeg treats the edge of the decoded region like that of the image. Chroma upsampling uses the
  // neighbouring sample, and smoothing of a progressive JPEG with missing scans the next two blocks.
  const int margin = (jpeg.progressive_mode ? 3 * DCTSIZE : 2) * jpeg.max_h_samp_factor;
  auto left = static_cast<JDIMENSION>(std::max(0, region.left - margin));
  JDIMENSION width = std::min(this->width(), region.right + margin) - left;
  state.Guard([&] {
    jpeg_crop_scanline(&jpeg, &left, &width);  // Moves `left` back to a block boundary.
    if (region.top > 0) jpeg_skip_scanlines(&jpeg, region.top);
  });
  state.skipped = (region.left - left) * kChannels;

  // Unaligned on purpose: to aligned addresses, libjpeg-turbo's SIMD code writes with non-temporal stores,
  // which bypass the cache that these rows are read from next.
  constexpr size_t kAligned = 64;
  constexpr size_t kOff = 8;
  const size_t length = kOff + size_t{jpeg.output_width} * kChannels + kReadableBeyond;
  const size_t stride = (length + kAligned - 1) / kAligned * kAligned;
  state.rows.resize(kAligned + kMostRowsAtOnce * stride);
  uint8_t* const begin =
      state.rows.data() + kAligned - reinterpret_cast<uintptr_t>(state.rows.data()) % kAligned;
  for (int i = 0; i < kMostRowsAtOnce; ++i) state.row[i] = begin + i * stride + kOff;
}

const uint8_t* JpegReader::Next() {
  State& state = *state_;
  if (state.next == state.available) {
    state.Guard([&] { state.available = jpeg_read_scanlines(&state.jpeg, state.row, kMostRowsAtOnce); });
    state.next = 0;
  }
  return state.row[state.next++] + state.skipped;
}

void JpegReader::Finish() {
  State& state = *state_;
  jpeg_decompress_struct& jpeg = state.jpeg;
  state.Guard([&] {
    // Damage shows in the entropy-coded data, so no component is reconstructed. The last row is read, since
    // skipping to the end would also skip decoding.
    for (int i = 0; i < jpeg.num_components; ++i) jpeg.comp_info[i].component_needed = FALSE;
    if (jpeg.output_scanline + 1 < jpeg.output_height)
      jpeg_skip_scanlines(&jpeg, jpeg.output_height - jpeg.output_scanline - 1);
    if (jpeg.output_scanline < jpeg.output_height) jpeg_read_scanlines(&jpeg, state.row, 1);
    jpeg_finish_decompress(&jpeg);
  });
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
void JpegReader::Select(const Region&) {}
const uint8_t* JpegReader::Next() { return nullptr; }
void JpegReader::Finish() {}

}  // namespace repvgg

#endif
