import {availableParallelism, cpus} from 'node:os';

/** The properties of a machine that decide whether a binary loads. */
export interface Machine {
  platform: string;
  arch: string;
  /** Such as "2.36"; null with musl, and on systems other than Linux. */
  glibc: string | null;
  /** Node's version without the "v". */
  node: string;
  cpu: string;
}

/** The machine of this process. */
export function thisMachine(): Machine {
  return {
    platform: process.platform,
    arch: process.arch,
    glibc: glibcVersion(),
    node: process.versions.node,
    cpu: cpus()[0]?.model ?? `unknown, ${availableParallelism()} cores`,
  };
}

function glibcVersion(): string | null {
  // Otherwise the report resolves the names of network peers, which takes seconds without a name server.
  const report = process.report as typeof process.report & {excludeNetwork: boolean};
  const {excludeNetwork} = report;
  report.excludeNetwork = true;
  const {header} = report.getReport() as {header: {glibcVersionRuntime?: string}};
  report.excludeNetwork = excludeNetwork;
  return header.glibcVersionRuntime ?? null;
}

/** For example "linux-x64, Node 20.19.0, glibc 2.36". */
export function machineInWords({platform, arch, glibc, node}: Machine): string {
  const libc = platform === 'linux' ? `, ${glibc ? `glibc ${glibc}` : 'musl (no glibc)'}` : '';
  return `${platform}-${arch}, Node ${node}${libc}`;
}
