import type {Interpolation} from '../../ts/preprocessing.ts';

interface Picture {
  data: Uint8Array;
  width: number;
  height: number;
}

/**
 * torchvision's Resize and CenterCrop on a Pillow image, pixel by pixel: what src/libImaging/Resample.c computes, in its fixed
 * point of 22 fractional bits. Returns [crop][crop][3].
 */
export function pillowResizeCrop(
  image: Picture,
  resize: number,
  crop: number,
  interpolation: Interpolation,
  squash = false,
): Uint8Array {
  const {width, height} = image;
  let resized = image;
  if (resize > 0) {
    const longer = Math.floor((resize * Math.max(width, height)) / Math.min(width, height));
    const inProportion = width <= height ? [resize, longer] : [longer, resize];
    const [newWidth, newHeight] = (squash ? [resize, resize] : inProportion) as [number, number];
    const tall = height > width * 100 && newHeight < height;
    const across = (picture: Picture): Picture => resample(picture, 'width', newWidth, interpolation);
    const down = (picture: Picture): Picture => resample(picture, 'height', newHeight, interpolation);
    resized = tall ? across(down(image)) : down(across(image));
  }
  const offset = (size: number): number => {
    const half = (size - crop) / 2;
    if (half < 0) return -Math.floor(-half);
    return Math.floor(half) + (half % 1 === 0.5 ? Math.floor(half) % 2 : 0);
  };
  const [left, top] = [offset(resized.width), offset(resized.height)];
  const out = new Uint8Array(crop * crop * 3);
  for (let y = Math.max(0, -top); y < Math.min(crop, resized.height - top); y++) {
    for (let x = Math.max(0, -left); x < Math.min(crop, resized.width - left); x++) {
      const from = ((y + top) * resized.width + x + left) * 3;
      out.set(resized.data.subarray(from, from + 3), (y * crop + x) * 3);
    }
  }
  return out;
}

function resample(
  image: Picture,
  axis: 'width' | 'height',
  size: number,
  interpolation: Interpolation,
): Picture {
  const {data} = image;
  if (image[axis] === size) return image;
  const scale = image[axis] / size;
  const stretch = Math.max(scale, 1);
  const support = (interpolation === 'bilinear' ? 1 : 2) * stretch;
  const out = {...image, [axis]: size};
  out.data = new Uint8Array(out.width * out.height * 3);
  const [step, line] = axis === 'width' ? [3, image.width * 3] : [image.width * 3, 3];
  const [outStep, outLine] = axis === 'width' ? [3, out.width * 3] : [out.width * 3, 3];
  const lines = axis === 'width' ? image.height : image.width;
  for (let i = 0; i < size; i++) {
    const centre = (i + 0.5) * scale;
    const first = Math.max(0, Math.trunc(centre - support + 0.5));
    const count = Math.min(image[axis], Math.trunc(centre + support + 0.5)) - first;
    const weights = Array.from({length: count}, (_, k) =>
      filter(interpolation, (k + first - centre + 0.5) * (1 / stretch)),
    );
    const sum = weights.reduce((a, b) => a + b, 0);
    const fixed = weights.map(weight => {
      const scaled = (weight / sum) * 2 ** 22;
      return Math.trunc(scaled < 0 ? scaled - 0.5 : scaled + 0.5);
    });
    for (let j = 0; j < lines * 3; j++) {
      const [at, channel] = [Math.floor(j / 3), j % 3];
      let total = 2 ** 21;
      for (let k = 0; k < count; k++) total += data[at * line + (first + k) * step + channel]! * fixed[k]!;
      out.data[at * outLine + i * outStep + channel] = Math.min(255, Math.max(0, total >> 22));
    }
  }
  return out;
}

function filter(interpolation: Interpolation, distance: number): number {
  const x = Math.abs(distance);
  if (interpolation === 'bilinear') return x < 1 ? 1 - x : 0;
  if (x < 1) return (1.5 * x - 2.5) * x * x + 1;
  return x < 2 ? (((x - 5) * x + 8) * x - 4) * -0.5 : 0;
}
