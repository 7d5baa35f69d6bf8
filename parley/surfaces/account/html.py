"""Account, HTML: the few pages that are ours and not Chainlit's, all but without script."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from html import escape

from starlette.responses import HTMLResponse, Response

from parley.auth.principal import Scope
from parley.chat.identities import ApiKey, SignIn
from parley.surfaces.texts import AccountTexts, Texts

# Stricter than the chat's: nothing but our own style and pictures.
POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self' https:; form-action 'self';"
    " base-uri 'none'; script-src {scripts}; frame-ancestors "
)
_DOCUMENT = """<!doctype html>
<html lang="{tag}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title} · Parley</title>
<link rel="icon" href="/public/favicon.svg">
<link rel="stylesheet" href="/public/account.css">
</head>
<body><main>
<picture><source srcset="/public/logo_dark.svg" media="(prefers-color-scheme: dark)">\
<img class="logo" src="/public/logo_light.svg" alt="Parley"></picture>
{body}
</main></body>
</html>
"""


@dataclass(frozen=True, slots=True)
class Page:
    """A page: its title, and its body as HTML."""

    title: str
    body: str
    has_script: bool = False


@dataclass(frozen=True, slots=True)
class Account:
    """What the account page shows; `new_key` is shown this once."""

    name: str
    detail: str
    picture: str
    keys: Sequence[ApiKey]
    sign_ins: Sequence[SignIn]
    current_sign_in_id: str | None
    may_administrate: bool
    new_key: str = ""
    message: str = ""


def page_response(page: Page, texts: Texts, status: int = 200) -> Response:
    """Render a page; the policy is completed by http/hardening.py, which knows who may frame it."""
    body = page.body + ('<script src="/public/frame.js"></script>' if page.has_script else "")
    html = _DOCUMENT.format(tag=texts.tag, title=escape(page.title), body=body)
    headers = {
        "cache-control": "no-store",
        "vary": "accept-language",
        "content-security-policy": POLICY.format(scripts="'self'" if page.has_script else "'none'"),
        # With none at all a form's Origin would be "null", as another site's may be.
        "referrer-policy": "same-origin",
    }
    return HTMLResponse(html, status, headers)


def sign_in_page(
    ways: Mapping[str, str], texts: Texts, *, message: str, guests_go_to: str, in_frame: bool
) -> Page:
    """Show the ways in, by their labels."""
    says = texts.account
    target = ' target="_blank" rel="opener"' if in_frame else ""
    links = "".join(
        f'<a class="way" href="{escape(url)}"{target}>'
        f"{escape(says.sign_in_with.format(name=label))}</a>"
        for label, url in ways.items()
    )
    if guests_go_to:
        goal = escape(guests_go_to)
        links += f'<a class="way quiet" href="{goal}">{escape(says.go_on_as_guest)}</a>'
    if not links:
        links = f"<p>{escape(says.no_sign_in)}</p>"
    by_code = _code_form(says) if in_frame and ways else ""
    body = f"<h1>{escape(says.sign_in)}</h1>{_said(message)}<nav>{links}</nav>{by_code}"
    return Page(says.sign_in, body, has_script=in_frame)


def _code_form(says: AccountTexts) -> str:
    """Make the form below the links that open a tab: by itself it is filled in by frame.js."""
    code = '<input name="code" required maxlength="20" autocomplete="off" spellcheck="false">'
    return (
        f'<form method="post" action="/login/framed" data-frame><p>{escape(says.code_note)}</p>'
        f"<label>{escape(says.code)} {code}</label><button>{escape(says.go_on)}</button></form>"
    )


def frame_page(code: str, back_to: str, texts: Texts) -> Page:
    """Tell whoever signed in for a frame how it goes on there."""
    says, shown = texts.account, f"{code[:5]}-{code[5:]}"
    return Page(
        says.signed_in,
        f"<h1>{escape(says.signed_in)}</h1><p>{escape(says.go_back)}</p>"
        f'<p class="message"><code data-frame-code="{code}">{shown}</code></p>'
        f'<nav><a class="way quiet" href="{escape(back_to)}">{escape(says.go_on_here)}</a></nav>',
        has_script=True,
    )


def leaving_page(goal: str, texts: Texts) -> Page:
    """Lead on to where one signs out at the provider."""
    says, link = texts.account, escape(goal)
    return Page(
        says.signed_out,
        f'<meta http-equiv="refresh" content="0;url={link}"><h1>{escape(says.signed_out)}</h1>'
        f'<nav><a class="way" href="{link}">{escape(says.sign_out_there)}</a></nav>',
    )


def account_page(account: Account, texts: Texts) -> Page:
    """Show who somebody is, their API keys, and where they are signed in."""
    says = texts.account
    picture = (
        f'<img class="face" src="{escape(account.picture)}" alt="">' if account.picture else ""
    )
    head = (
        f"<header>{picture}<div><h1>{escape(account.name)}</h1>"
        f"<p>{escape(account.detail)}</p></div></header>"
    )
    out = f'<form method="post" action="/logout"><button>{escape(says.sign_out)}</button></form>'
    back = f'<a href="/">{escape(says.back)}</a>'
    signed_in = _sign_ins(account, says) + out if account.sign_ins else ""
    body = head + _said(account.message) + _keys(account, says) + signed_in + back
    return Page(says.title, body)


def _said(message: str) -> str:
    return f'<p class="message" role="alert">{escape(message)}</p>' if message else ""


def _keys(account: Account, says: AccountTexts) -> str:
    none = f'<tr><td colspan="5">{escape(says.none_yet)}</td></tr>'
    rows = "".join(_key(key, says) for key in account.keys) or none
    new = ""
    if account.new_key:
        new = (
            f'<p class="message" role="status">{escape(says.copy_now)}<br>'
            f'<code id="new-key">{escape(account.new_key)}</code></p>'
        )
    scopes = [Scope.READ, Scope.CHAT, *([Scope.ADMIN] if account.may_administrate else [])]
    boxes = "\n".join(_scope_box(scope, says) for scope in scopes)
    return f"""<section><h2>{escape(says.keys)}</h2>{new}
<table><thead>{_heads(says.name, says.key, says.may, says.last_used, "")}</thead>
<tbody>{rows}</tbody></table>
<form method="post" action="/account/keys">
<label>{escape(says.name)} <input name="name" required maxlength="100"></label>
<label>{escape(says.days)} <input name="days" type="number" min="1" max="3650" value="90"></label>
<fieldset><legend>{escape(says.it_may)}</legend>
{boxes}</fieldset>
<button>{escape(says.make_key)}</button></form></section>"""


def _heads(*names: str) -> str:
    return "<tr>" + "".join(f"<th>{escape(name)}</th>" for name in names) + "</tr>"


def _scope_box(scope: Scope, says: AccountTexts) -> str:
    checked = "" if scope is Scope.ADMIN else " checked"
    box = f'<input type="checkbox" name="scope" value="{scope.value}"{checked}>'
    return f"<label>{box} {escape(_scope(scope.value, says))}</label>"


def _scope(scope: str, says: AccountTexts) -> str:
    return {"read": says.read, "chat": says.chat, "admin": says.admin}.get(scope, scope)


def _key(key: ApiKey, says: AccountTexts) -> str:
    if key.revoked_at:
        end = escape(says.revoked.format(day=_day(key.revoked_at)))
    else:
        label = escape(says.revoke_key.format(name=key.name))
        end = (
            f'<form method="post" action="/account/keys/{key.id}/revoke">'
            f'<button aria-label="{label}">{escape(says.revoke)}</button></form>'
        )
    may = says.comma.join(_scope(scope, says) for scope in key.scopes)
    if key.expires_at:
        may = says.until.format(scopes=may, day=_day(key.expires_at))
    used = _day(key.used_at) if key.used_at else says.never
    return (
        f"<tr><td>{escape(key.name)}</td><td><code>{escape(key.hint)}…</code></td>"
        f"<td>{escape(may)}</td><td>{escape(used)}</td><td>{end}</td></tr>"
    )


def _sign_ins(account: Account, says: AccountTexts) -> str:
    rows = "".join(_sign_in(one, account.current_sign_in_id, says) for one in account.sign_ins)
    return f"""<section><h2>{escape(says.sign_ins)}</h2>
<table><thead>{_heads(says.with_, says.since, says.last_seen, "")}</thead>
<tbody>{rows}</tbody></table>
<form method="post" action="/account/sign-out-everywhere">
<button>{escape(says.sign_out_everywhere)}</button></form></section>"""


def _sign_in(one: SignIn, current_id: str | None, says: AccountTexts) -> str:
    end = escape(says.this_browser)
    if one.id != current_id:
        button = f"<button>{escape(says.end)}</button>"
        end = f'<form method="post" action="/account/sign-ins/{one.id}/end">{button}</form>'
    return (
        f"<tr><td>{escape(one.provider)}</td><td>{_day(one.created_at)}</td>"
        f"<td>{one.seen_at:%Y-%m-%d %H:%M} UTC</td><td>{end}</td></tr>"
    )


def _day(at: datetime) -> str:
    return f"{at:%Y-%m-%d}"
