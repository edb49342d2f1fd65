const entities: Record<string, string> = {'<': '&lt;', '>': '&gt;', '&': '&amp;', '"': '&quot;'};

/** Text as the content or an attribute of an XML element. Control characters, which XML cannot have, become spaces. */
export function escapeXml(value: string): string {
  return value.replace(/[<>&"]/g, character => entities[character]!).replace(/\p{Cc}/gu, ' ');
}
