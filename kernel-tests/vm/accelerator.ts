// KVM or software emulation: KVM guests die on some machines that offer /dev/kvm, so one is booted against the clock, once per boot of the machine.
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { cacheFolder } from './cache.ts';
import type { Kernel } from './kernels.ts';
import { run, type Accelerator } from './qemu.ts';

const probeTimeoutMs = 15_000;

export async function chooseAccelerator(kernel: Kernel): Promise<Accelerator> {
  if (!existsSync('/dev/kvm')) return 'tcg';
  mkdirSync(cacheFolder, { recursive: true });
  const known = join(cacheFolder, `accelerator-${readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()}`);
  if (existsSync(known)) return readFileSync(known, 'utf8') as Accelerator;
  const folder = mkdtempSync(join(tmpdir(), 'weir-kvm-'));
  try {
    const end = await run({ kernel, accelerator: 'kvm', folder, command: { script: '#!/bin/sh\nexit 0\n', shell: false } }, probeTimeoutMs, () => undefined);
    const chosen = end.status === 0 && end.failure === undefined ? 'kvm' : 'tcg';
    writeFileSync(known, chosen);
    return chosen;
  } finally {
    rmSync(folder, { recursive: true });
  }
}
