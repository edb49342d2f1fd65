import type {RgbImage} from '../images/images.ts';

/** Characters from black to white, for terminals without colour. */
const ramp = ' .:-=+*#%@';
/** The greys of the 256-colour palette, which more terminals support than 24-bit colour. */
const [firstGrey, greys] = [232, 24];

/** Whether standard output is a terminal with 256 colours and NO_COLOR is not set. */
export function hasColour(): boolean {
  return process.stdout.isTTY && process.stdout.hasColors(256);
}

/** Draws the red channel of a small image as lines of text. */
export function picture(image: RgbImage, colour: boolean): string[] {
  return colour ? halfBlocks(image) : characters(image);
}

/** Two rows of pixels per line: the foreground of "▀" is the upper pixel, its background the lower. */
function halfBlocks({data, width, height}: RgbImage): string[] {
  const grey = (x: number, y: number): number =>
    firstGrey + (y < height ? level(data[(y * width + x) * 3]!, greys) : 0);
  return Array.from({length: Math.ceil(height / 2)}, (_, line) => {
    const cells = Array.from(
      {length: width},
      (_, x) => `\x1b[38;5;${grey(x, 2 * line)};48;5;${grey(x, 2 * line + 1)}m▀`,
    );
    return `${cells.join('')}\x1b[0m`;
  });
}

/** Two characters per pixel, because a character is about half as wide as high. */
function characters({data, width, height}: RgbImage): string[] {
  return Array.from({length: height}, (_, y) =>
    Array.from({length: width}, (_, x) =>
      ramp[level(data[(y * width + x) * 3]!, ramp.length)]!.repeat(2),
    ).join(''),
  );
}

function level(value: number, levels: number): number {
  return Math.floor((value * levels) / 256);
}
