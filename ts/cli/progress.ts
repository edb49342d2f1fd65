/** Replaces the progress line on standard error, if that is a terminal. The text is truncated so that it does not wrap. */
export function showProgress(text: string): void {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${text.slice(0, progressWidth())}`);
}

/** Characters that fit on the line. Some pseudo-terminals report no width. */
export const progressWidth = (): number => (process.stderr.columns || 80) - 1;

/** Clears the progress line. */
export function endProgress(): void {
  showProgress('');
}

/** Shows the progress of a download, at most ten times per second. */
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
