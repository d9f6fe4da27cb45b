//! Which addresses an answer may link to, and how a link shows where it leads.

use url::Url;

use super::html::escape;

/// An address that a page may link to: absolute, `http`, `https` or `mailto`, no credentials.
pub(super) struct Destination {
    url: Url,
}

impl Destination {
    /// `None` for everything that is not plainly an address on the web or a mailbox.
    pub(super) fn parse(address: &str) -> Option<Self> {
        let url = Url::parse(address).ok()?;
        let allowed = match url.scheme() {
            "http" | "https" => {
                url.has_host() && url.username().is_empty() && url.password().is_none()
            }
            "mailto" => true,
            _ => false,
        };
        allowed.then_some(Self { url })
    }

    /// The start tag. An address that could carry data out of the conversation is marked, and
    /// the page asks before it opens it.
    pub(super) fn open(&self, html: &mut String) {
        html.push_str("<a href=\"");
        escape(self.url.as_str(), html);
        html.push_str("\" title=\"");
        escape(self.url.as_str(), html);
        html.push('"');
        if self.carries_data() {
            html.push_str(" data-confirm=\"\"");
        }
        html.push('>');
    }

    /// The end tag, and the host unless the link's own text already shows it.
    pub(super) fn close(&self, shown: &str, html: &mut String) {
        html.push_str("</a>");
        let Some(host) = self.url.host_str() else { return };
        if shown.trim() == host || Self::parse(shown.trim()).is_some_and(|d| d.url == self.url) {
            return;
        }
        html.push_str(" <span class=\"host\">(");
        escape(host, html);
        html.push_str(")</span>");
    }

    /// What to call the address when nothing else names it.
    pub(super) fn name(&self) -> &str {
        self.url.host_str().unwrap_or_else(|| self.url.path())
    }

    /// Whether more than a page's name fits into the address.
    fn carries_data(&self) -> bool {
        /// Longer than any word a page is named by.
        const LONGEST_SEGMENT: usize = 40;
        let long = |mut segments: std::str::Split<'_, char>| {
            segments.any(|segment| segment.len() > LONGEST_SEGMENT)
        };
        self.url.query().is_some()
            || self.url.fragment().is_some()
            || self.url.path_segments().is_some_and(long)
            || self.url.host_str().is_some_and(|host| long(host.split('.')))
    }
}
