/** Whether a text is meant as a URL, and not as a path: it begins with `scheme://`, or with the name of a scheme that is read. */
export function isUrl(text: string): boolean {
  return /^((https?|data|file):|[a-z][a-z\d+.-]*:\/\/)/i.test(text);
}
