export function speedTable(): string;
export function withSpeedTable(readme: string): string;
