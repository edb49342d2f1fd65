export declare class Results {
  constructor(folder: string, seconds: number);
  read(name: string): Record<string, unknown>[];
}
export declare function run(
  results: Results,
  command: readonly string[],
  options: {seconds: number},
): Promise<{code: number | null; problem: string}>;
export declare function runCases(
  results: Results,
  program: readonly string[],
  filters: readonly string[],
  options: {seconds: number; stallSeconds: number; excluded: Set<string>},
): Promise<void>;
