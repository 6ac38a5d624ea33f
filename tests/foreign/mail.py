"""An SMTP server and a DKIM verifier that are not ours.

Takes mail on 127.0.0.1 and prints one JSON line for each: envelope, headers, texts, and what dkimpy says of
every signature. The first line is {"port": N}. Ends when its standard input does.

    python tests/foreign/mail.py --key 's1._domainkey.example.org=v=DKIM1; k=rsa; p=MIIB...'

`tests/proof a_foreign_server` runs it, with a Python that has aiosmtpd, dkimpy and pynacl.
"""

import argparse
import asyncio
import email
import email.policy
import json
import sys

import dkim
from aiosmtpd.smtp import SMTP


class Printer:
    def __init__(self, keys):
        self.keys = keys

    def find_key(self, name, timeout=5):
        wanted = (name.decode() if isinstance(name, bytes) else name).rstrip(".")
        record = self.keys.get(wanted)
        return record.encode() if record else None

    def verify(self, raw, index):
        verifier = dkim.DKIM(raw)
        try:
            valid = verifier.verify(index, dnsfunc=self.find_key)
        except dkim.DKIMException as fault:
            return {"valid": False, "fault": type(fault).__name__, "signed": []}
        return {"valid": valid, "fault": None, "signed": [name.decode() for name, _ in verifier.signed_headers]}

    async def handle_DATA(self, server, session, envelope):
        raw = envelope.original_content
        mail = email.message_from_bytes(raw, policy=email.policy.default)
        signatures = len(mail.get_all("DKIM-Signature") or [])
        part = lambda kind: mail.get_body((kind,)).get_content() if mail.get_body((kind,)) else None
        line = {
            "from": envelope.mail_from,
            "to": envelope.rcpt_tos,
            "headers": {name.lower(): str(value) for name, value in mail.items()},
            "defects": [str(defect) for defect in mail.defects],
            "text": part("plain"),
            "html": part("html"),
            "dkim": [self.verify(raw, index) for index in range(signatures)],
            "longest_line": max(len(part) for part in raw.split(b"\r\n")),
            "bare_line_ends": raw.replace(b"\r\n", b"").count(b"\n") + raw.replace(b"\r\n", b"").count(b"\r"),
        }
        print(json.dumps(line), flush=True)
        return "250 2.0.0 taken"


async def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--key", action="append", default=[], metavar="NAME=RECORD")
    keys = dict(key.split("=", 1) for key in parser.parse_args().key)
    printer = Printer(keys)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(printer, loop=loop), "127.0.0.1", 0)
    print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


asyncio.run(main())
