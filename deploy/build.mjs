// Builds the functions for Lambda from any machine: `make build ARCH=arm64`.
//
//   node deploy/build.mjs --arch arm64|x86_64
//
// By cargo-lambda, which links against the C library of Lambda's image with zig. Before it builds anything, it names each
// missing tool and how to get it. The binaries go where template.yaml looks for them, and are checked there.

import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import path from 'node:path';
import { Failure, options, ROOT, run, say, verb } from './aws.mjs';
import { checkBinaries, functionsOf, readTemplate } from './template.mjs';

/** Rust's targets and cargo-lambda's flags, by Lambda's names of the processors. */
const ARCHITECTURES = {
  arm64: { target: 'aarch64-unknown-linux-gnu', flag: '--arm64' },
  x86_64: { target: 'x86_64-unknown-linux-gnu', flag: '--x86-64' },
};

await verb('build', async () => {
  const { arch } = options({ arch: { type: 'string', default: '' } });
  const { target, flag } = ARCHITECTURES[arch] ?? {};
  if (!target) throw new Failure(`ARCH must be ${Object.keys(ARCHITECTURES).join(' or ')}, but is "${arch ?? ''}"`);
  await requireTools(target);

  const template = readTemplate({ Architecture: arch });
  const lambdaDir = path.join(ROOT, 'target/lambda');
  const functions = functionsOf(template);
  const packages = functions.flatMap(({ CodeUri }) => ['-p', path.basename(CodeUri)]);
  const code = await cargo('lambda', 'build', '--release', '--locked', flag, '--lambda-dir', lambdaDir, ...packages);
  if (code !== 0) throw new Failure(`cargo lambda build ended with exit code ${code}; what it said is above`);
  checkBinaries(arch);
  say(`target/lambda holds ${functions.length} functions for ${arch}`);
});

async function requireTools(target) {
  const works = async (command, ...args) => {
    try {
      return (await run(command, args)).code === 0;
    } catch (error) {
      if (error instanceof Failure) return false;
      throw error;
    }
  };
  if (!(await works('cargo', 'lambda', '--version')))
    throw new Failure('cargo-lambda is not installed: `pip install cargo-lambda` brings it, and zig');
  const { stdout } = await run('rustc', ['--print', 'target-libdir', '--target', target]);
  if (!existsSync(stdout.trim()))
    throw new Failure(`Rust cannot build for ${target} yet: \`rustup target add ${target}\``);
  if (!(await works('zig', 'version')) && !(await works('python3', '-m', 'ziglang', 'version'))) {
    throw new Failure(
      'zig, which links for Lambda, is not installed: `pip install ziglang`, or https://ziglang.org/download/',
    );
  }
}

/** cargo at this terminal; resolves with its exit code. */
function cargo(...args) {
  return new Promise((resolve, reject) => {
    const child = spawn('cargo', args, { cwd: ROOT, stdio: 'inherit' });
    child.on('error', reject);
    child.on('close', (code) => resolve(code ?? 1));
  });
}
