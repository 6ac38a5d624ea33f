-- Whoever calls a number of ours follows the last call to theirs.
CREATE INDEX attempts_voice_address ON attempts (address_index, begun_at) WHERE channel = 'voice';
