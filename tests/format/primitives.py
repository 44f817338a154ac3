"""BLAKE3 and AES-256-GCM from their papers, for no more than some kilobytes: to be right is all that is asked of them."""

MASK = 0xFFFFFFFF
IV = (0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19)
PERMUTATION = (2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8)
CHUNK_START, CHUNK_END, PARENT, ROOT, KEYED, CONTEXT, MATERIAL = 1, 2, 4, 8, 16, 32, 64


def _compress(chaining, block, counter, length, flags):
    message = [int.from_bytes(block[at:at + 4], "little") for at in range(0, 64, 4)]
    v = list(chaining) + list(IV[:4]) + [counter & MASK, counter >> 32, length, flags]

    def mix(a, b, c, d, x, y):
        for word, first, second in ((x, 16, 12), (y, 8, 7)):
            v[a] = (v[a] + v[b] + word) & MASK
            t = v[d] ^ v[a]
            v[d] = (t >> first | t << 32 - first) & MASK
            v[c] = (v[c] + v[d]) & MASK
            t = v[b] ^ v[c]
            v[b] = (t >> second | t << 32 - second) & MASK

    for turn in range(7):
        m = message
        mix(0, 4, 8, 12, m[0], m[1]); mix(1, 5, 9, 13, m[2], m[3]); mix(2, 6, 10, 14, m[4], m[5]); mix(3, 7, 11, 15, m[6], m[7])
        mix(0, 5, 10, 15, m[8], m[9]); mix(1, 6, 11, 12, m[10], m[11]); mix(2, 7, 8, 13, m[12], m[13]); mix(3, 4, 9, 14, m[14], m[15])
        message = [m[place] for place in PERMUTATION]
    return [v[i] ^ v[i + 8] for i in range(8)]


def _blake3(content, key, flags, first_chunk=0, last=ROOT):
    def words_to_bytes(words):
        return b"".join(word.to_bytes(4, "little") for word in words)

    def chunk(data, number, root):
        chaining = key
        blocks = [data[at:at + 64] for at in range(0, len(data), 64)] or [b""]
        for place, block in enumerate(blocks):
            more = (CHUNK_START if place == 0 else 0) | (CHUNK_END | root if place == len(blocks) - 1 else 0)
            chaining = _compress(chaining, block.ljust(64, b"\0"), number, len(block), flags | more)
        return chaining

    def tree(data, number, root):
        if len(data) <= 1024:
            return chunk(data, number, root)
        left = 1024 << ((len(data) - 1) // 1024).bit_length() - 1
        block = words_to_bytes(tree(data[:left], number, 0) + tree(data[left:], number + left // 1024, 0))
        return _compress(key, block, 0, 64, flags | PARENT | root)

    return words_to_bytes(tree(content, first_chunk, last))


def _words(key):
    return [int.from_bytes(key[at:at + 4], "little") for at in range(0, 32, 4)]


def keyed_hash(key, content):
    return _blake3(content, _words(key), KEYED)


def keyed_node(key, content, offset):
    """What stands in the tree over these bytes, which begin at `offset` of the content: not the root."""
    return _blake3(content, _words(key), KEYED, offset // 1024, 0)


def derive_key(context, material):
    return _blake3(material, _words(_blake3(context.encode(), list(IV), CONTEXT)), MATERIAL)


def _times2(byte):
    return (byte << 1 ^ (0x11B if byte & 0x80 else 0)) & 0xFF


def _sbox():
    box, p, q = [0] * 256, 1, 1
    while True:
        p = p ^ _times2(p)
        q ^= q << 1; q ^= q << 2; q ^= q << 4; q &= 0xFF
        if q & 0x80:
            q ^= 0x09
        rotated = q
        for shift in (1, 2, 3, 4):
            rotated ^= (q << shift | q >> 8 - shift) & 0xFF
        box[p] = rotated ^ 0x63
        if p == 1:
            break
    box[0] = 0x63
    return box


SBOX = _sbox()


def _expand(key):
    words = [key[at:at + 4] for at in range(0, 32, 4)]
    constant = 1
    for place in range(8, 60):
        word = words[-1]
        if place % 8 == 0:
            word = bytes(SBOX[byte] for byte in word[1:] + word[:1])
            word = bytes([word[0] ^ constant]) + word[1:]
            constant = _times2(constant)
        elif place % 8 == 4:
            word = bytes(SBOX[byte] for byte in word)
        words.append(bytes(a ^ b for a, b in zip(word, words[place - 8])))
    return [b"".join(words[at:at + 4]) for at in range(0, 60, 4)]


def _encrypt_block(rounds, block):
    state = [a ^ b for a, b in zip(block, rounds[0])]
    for number, round_key in enumerate(rounds[1:], 1):
        state = [SBOX[state[(place + 4 * (place % 4)) % 16]] for place in range(16)]
        if number < 14:
            mixed = []
            for at in range(0, 16, 4):
                a, b, c, d = state[at:at + 4]
                whole = a ^ b ^ c ^ d
                mixed += [a ^ whole ^ _times2(a ^ b), b ^ whole ^ _times2(b ^ c), c ^ whole ^ _times2(c ^ d), d ^ whole ^ _times2(d ^ a)]
            state = mixed
        state = [a ^ b for a, b in zip(state, round_key)]
    return bytes(state)


def _multiply_table(h):
    """By each of the 256 values of each byte: GHASH by look-ups."""
    powers = []
    for _ in range(128):
        powers.append(h)
        h = h >> 1 ^ (0xE1 << 120 if h & 1 else 0)
    table = []
    for byte in range(16):
        row = [0] * 256
        for bit in range(8):
            row[0x80 >> bit] = powers[8 * byte + bit]
        for value in range(1, 256):
            low = value & -value
            row[value] = row[low] ^ row[value ^ low] if value != low else row[value]
        table.append(row)
    return table


def open_gcm(key, counter, additional, sealed):
    """AES-256-GCM with the format's nonce: four zero bytes, then the counter as u64."""
    rounds = _expand(key)
    table = _multiply_table(int.from_bytes(_encrypt_block(rounds, bytes(16)), "big"))
    text, tag = sealed[:-16], sealed[-16:]
    y = 0
    lengths = (len(additional) * 8).to_bytes(8, "big") + (len(text) * 8).to_bytes(8, "big")
    for data in (additional, text, lengths):
        for at in range(0, len(data), 16):
            y ^= int.from_bytes(data[at:at + 16].ljust(16, b"\0"), "big")
            y = _fold(table, y)
    nonce = bytes(4) + counter.to_bytes(8, "little")
    mask = _encrypt_block(rounds, nonce + (1).to_bytes(4, "big"))
    if (y ^ int.from_bytes(mask, "big")).to_bytes(16, "big") != tag:
        raise ValueError("the tag does not fit")
    plain = bytearray()
    for number, at in enumerate(range(0, len(text), 16), 2):
        stream = _encrypt_block(rounds, nonce + number.to_bytes(4, "big"))
        plain += bytes(a ^ b for a, b in zip(text[at:at + 16], stream))
    return bytes(plain)


def _fold(table, y):
    product = 0
    for place in range(16):
        product ^= table[place][y >> 120 - 8 * place & 0xFF]
    return product


def check():
    """Published vectors."""
    assert keyed_hash(b"whats the Elvish word for friend", b"")[:8].hex() == "92b2b75604ed3c76"
    content = bytes(at % 251 for at in range(2049))
    assert keyed_hash(b"whats the Elvish word for friend", content)[:8].hex() == "9f29700902f7c86e"
    # SP 800-38D's test case 14 has a nonce of zeros: our counter 0.
    assert open_gcm(bytes(32), 0, b"", bytes.fromhex("cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919")) == bytes(16)
