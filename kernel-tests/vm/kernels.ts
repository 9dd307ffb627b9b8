// The kernels that weir is tested on: Debian's packages by name, version and hash. A newer one: change its row, see `apt-cache show`.

export interface Kernel {
  readonly name: string;
  /** linux-image-<release>; what `uname -r` says in the VM. */
  readonly release: string;
  readonly version: string;
  readonly sha256: string;
  /** Which of the machine's Debian archives holds it, and the suite there. */
  readonly archive: 'debian' | 'debian-security';
  readonly suite: string;
}

export const kernels: readonly Kernel[] = [
  { name: '5.10', release: '5.10.0-46-cloud-amd64', version: '5.10.262-1', archive: 'debian-security', suite: 'bullseye-security',
    sha256: '18d94781d1b3052e21967ac2262239e5f14fbf511d6c3e110629d7aa35340760' },
  { name: '6.1', release: '6.1.0-56-cloud-amd64', version: '6.1.192-2', archive: 'debian-security', suite: 'bookworm-security',
    sha256: 'e7d02b943971edcb8790e256c02cfab3bca6c3d37c1bf25392a57c71300615ee' },
  { name: '6.12', release: '6.12.117+deb12-cloud-amd64', version: '6.12.117-1~deb12u1', archive: 'debian-security', suite: 'bookworm-security',
    sha256: '5195b288dec79e2981d6b84457f38b7ce7310a2d702930ec7d07209c7f78ce37' },
  { name: '6.18', release: '6.18.15+deb13-cloud-amd64', version: '6.18.15-1~bpo13+1', archive: 'debian', suite: 'trixie-backports',
    sha256: '5a507681ea8c978d02265a7fec2f02c9588fb48b54b7f71edc1059e86007f3ec' },
];

export const packageOf = (kernel: Kernel): string => `linux-image-${kernel.release}`;
