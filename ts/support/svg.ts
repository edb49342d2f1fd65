const entities: Record<string, string> = {'<': '&lt;', '>': '&gt;', '&': '&amp;', '"': '&quot;'};

/** Text as the content or an attribute of an XML or HTML element. Control characters, which XML cannot have, become spaces. */
export function escapeXml(value: string): string {
  return value.replace(/[<>&"]/g, character => entities[character]!).replace(/\p{Cc}/gu, ' ');
}

export interface Drawing {
  /** Pixels. */
  width: number;
  height: number;
  /** What it shows, for those who do not see it. */
  title: string;
  description?: string;
  /** Elements, the later ones over the earlier. */
  elements: readonly string[];
}

/** An SVG document on white that needs nothing but a font. */
export function svgDocument({width, height, title, description, elements}: Drawing): string {
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" role="img" font-family="Helvetica, Arial, sans-serif" font-size="13">`,
    `<title>${escapeXml(title)}</title>`,
    ...(description === undefined ? [] : [`<desc>${escapeXml(description)}</desc>`]),
    `<rect width="${width}" height="${height}" fill="white"/>`,
    ...elements,
    '</svg>\n',
  ].join('\n');
}

/** Of texts. */
export const ink = '#222';
export const softInk = '#777';

export interface TextStyle {
  /** Where x is in the text. Default 'middle'. */
  anchor?: 'start' | 'middle' | 'end';
  weight?: 'bold';
  fill?: string;
  fontSize?: number;
  /** Degrees, clockwise around its anchor. */
  rotate?: number;
}

export function svgText(
  x: number,
  y: number,
  content: string,
  {anchor = 'middle', weight, fill = ink, fontSize, rotate}: TextStyle = {},
): string {
  const attributes = [
    `x="${x}" y="${y}" text-anchor="${anchor}" fill="${fill}"`,
    weight ? `font-weight="${weight}"` : '',
    fontSize ? `font-size="${fontSize}"` : '',
    rotate ? `transform="rotate(${rotate} ${x} ${y})"` : '',
  ];
  return `<text ${attributes.filter(Boolean).join(' ')}>${escapeXml(content)}</text>`;
}
