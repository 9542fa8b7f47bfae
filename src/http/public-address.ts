import { lookup as resolveName } from 'node:dns';
import { BlockList, isIP, type LookupFunction } from 'node:net';

/** Addresses that are not of the public Internet: a caller must not reach through us what it cannot reach itself. */
const privateAddresses = blockList();

/** The check and the connection use the same answer: a name cannot lead elsewhere in between. */
export const publicLookup: LookupFunction = (hostname, options, callback) => {
  resolveName(hostname, { ...options, all: true }, (error, addresses) => {
    const [first] = addresses ?? [];
    if (error !== null || first === undefined) return callback(error ?? new Error('no address'), '');
    if (addresses.some(({ address }) => isPrivate(address))) return callback(new PrivateAddressError(), '');
    if (options.all === true) callback(null, addresses);
    else callback(null, first.address, first.family);
  });
};

class PrivateAddressError extends Error {
  readonly code = 'PRIVATE_ADDRESS';
}

/** True for a URL that names an address which is not public. What a name stands for is looked at by `publicLookup`. */
export function hasPrivateAddress({ hostname }: URL): boolean {
  return isPrivate(hostname.replace(/^\[|\]$/g, ''));
}

function isPrivate(address: string): boolean {
  const family = isIP(address);
  return family !== 0 && privateAddresses.check(address, family === 6 ? 'ipv6' : 'ipv4');
}

/** The special-purpose registries of IANA: https://www.iana.org/assignments/iana-ipv4-special-registry */
function blockList(): BlockList {
  const list = new BlockList();
  const v4 = ['0.0.0.0/8', '10.0.0.0/8', '100.64.0.0/10', '127.0.0.0/8', '169.254.0.0/16', '172.16.0.0/12'];
  const more4 = ['192.0.0.0/24', '192.0.2.0/24', '192.88.99.0/24', '192.168.0.0/16', '198.18.0.0/15'];
  const rest4 = ['198.51.100.0/24', '203.0.113.0/24', '224.0.0.0/4', '240.0.0.0/4'];
  const v6 = ['::/96', '64:ff9b::/96', '64:ff9b:1::/48', '100::/64', '2001::/23', '2001:db8::/32'];
  const more6 = ['2002::/16', '3fff::/20', '5f00::/16', 'fc00::/7', 'fe80::/10', 'fec0::/10', 'ff00::/8'];
  const add = (family: 'ipv4' | 'ipv6') => (range: string) => {
    const [address = '', prefix = ''] = range.split('/');
    list.addSubnet(address, Number(prefix), family);
  };
  [...v4, ...more4, ...rest4].forEach(add('ipv4'));
  [...v6, ...more6].forEach(add('ipv6'));
  return list;
}
