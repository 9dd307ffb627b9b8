// Prints the resident bytes of a process that has read, checked and compiled the recorded set and holds its image.
import { Compiler } from '../agent/policy/compile.ts';
import { inputOf, read, readScale } from './policy-input.ts';

const scale = readScale();
const compiler = new Compiler(true);
const image = compiler.compile(inputOf(scale, read(scale.policies).flat()));
(globalThis as { gc?: () => void }).gc?.();
process.stdout.write(String(process.memoryUsage().rss));
if (image.policies.size === 0) process.exitCode = 1;
