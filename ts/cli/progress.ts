/** Writes what goes on over the last such line of standard error, where that is a terminal. What does not fit would be a line of its own. */
export function showProgress(text: string): void {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${text.slice(0, progressWidth())}`);
}

/** Characters that fit. Some pseudo-terminals have no width. */
export const progressWidth = (): number => (process.stderr.columns || 80) - 1;

/** Takes the line away, so that what follows begins at its own. */
export function endProgress(): void {
  showProgress('');
}

/** Shows a download ten times a second. */
export function downloadProgress(name: string): (received: number, total: number) => void {
  let next = 0;
  return (received, total) => {
    if (received === total) return endProgress();
    if (performance.now() < next) return;
    next = performance.now() + 100;
    const megabytes = (bytes: number): string => (bytes / 1e6).toFixed(1);
    showProgress(`fetching ${name}: ${megabytes(received)} of ${megabytes(total)} MB`);
  };
}
