// Whether Lambda can run an executable: its processor, from its ELF header, and the C library that it asks for.
// https://refspecs.linuxfoundation.org/elf/gabi4+/ch4.eheader.html

import { closeSync, openSync, readFileSync, readSync } from 'node:fs';

/** `e_machine` by Lambda's names. */
const MACHINES = { 62: 'x86_64', 183: 'arm64' };

/** Lambda's name of the processor that `file` was built for; null if it is no Linux executable for either. */
export function architectureOf(file) {
  const header = Buffer.alloc(20);
  const descriptor = openSync(file, 'r');
  try {
    readSync(descriptor, header);
  } finally {
    closeSync(descriptor);
  }
  const isLittleEndian64BitElf = header.readUInt32BE(0) === 0x7f454c46 && header[4] === 2 && header[5] === 1;
  return isLittleEndian64BitElf ? (MACHINES[header.readUInt16LE(18)] ?? null) : null;
}

/** The newest minor version of glibc 2 that `file` names in its symbols' versions; 0 if it names none. */
export function newestGlibc(file) {
  const names = readFileSync(file, 'latin1').matchAll(/GLIBC_2\.(\d+)/g);
  return Math.max(0, ...Array.from(names, ([, minor]) => Number(minor)));
}
