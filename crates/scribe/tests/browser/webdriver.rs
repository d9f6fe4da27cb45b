//! A browser that a test drives: Debian's Chromium through `chromedriver`'s plain HTTP interface.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

const CHROMIUM: &str = "/usr/bin/chromium";
const DRIVER: &str = "/usr/bin/chromedriver";
/// How WebDriver names an element in JSON.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";
/// Longest time that a page may take for anything. The machine may be busy.
const PATIENCE: Duration = Duration::from_secs(60);

/// How a browser is started.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    pub(crate) language: &'static str,
    pub(crate) javascript: bool,
    pub(crate) dark: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { language: "en", javascript: true, dark: false }
    }
}

/// One browser with an empty profile; it ends with this value.
pub(crate) struct Browser {
    driver: Child,
    session: String,
    _profile: tempfile::TempDir,
}

/// An element of the page.
#[derive(Clone, Debug)]
pub(crate) struct Element(String);

impl Browser {
    /// Nothing where there is no Chromium; says so.
    pub(crate) fn start(options: Options) -> Option<Self> {
        if !Path::new(CHROMIUM).exists() || !Path::new(DRIVER).exists() {
            skipped(&format!("{CHROMIUM} or {DRIVER} is not installed"));
            return None;
        }
        let mut driver = Command::new(DRIVER)
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(driver.stdout.take().unwrap()).lines();
        let port = lines
            .map_while(Result::ok)
            .find_map(|line| {
                line.rsplit_once("successfully on port ")?
                    .1
                    .trim_end_matches('.')
                    .parse::<u16>()
                    .ok()
            })
            .expect("chromedriver says its port");
        let profile = tempfile::tempdir().unwrap();
        let base = format!("http://127.0.0.1:{port}");
        let capabilities = capabilities(options, profile.path());
        let started = request("POST", &format!("{base}/session"), Some(&capabilities)).unwrap();
        let session = format!("{base}/session/{}", started["sessionId"].as_str().unwrap());
        Some(Self { driver, session, _profile: profile })
    }

    fn call(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value, String> {
        request(method, &format!("{}{path}", self.session), body)
    }

    fn post(&self, path: &str, body: &Value) -> Value {
        self.call("POST", path, Some(body)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    pub(crate) fn open(&self, address: &str) {
        self.post("/url", &json!({ "url": address }));
    }

    pub(crate) fn reload(&self) {
        self.post("/refresh", &json!({}));
    }

    pub(crate) fn resize(&self, width: u32, height: u32) {
        // The window's own size cannot be as small as a phone's; the page's can.
        let metrics = json!({
            "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false,
        });
        self.devtools("Emulation.setDeviceMetricsOverride", &metrics);
    }

    pub(crate) fn devtools(&self, command: &str, parameters: &Value) -> Value {
        self.post("/goog/cdp/execute", &json!({ "cmd": command, "params": parameters }))
    }

    /// Runs the body of a function in the page.
    pub(crate) fn script(&self, body: &str, arguments: &[Value]) -> Value {
        self.post("/execute/sync", &json!({ "script": body, "args": arguments }))
    }

    /// Runs the body of an async function in the page.
    pub(crate) fn script_async(&self, body: &str) -> Value {
        let script = format!(
            "const done = arguments[arguments.length - 1]; (async () => {{ {body} }})().then(done);"
        );
        self.post("/execute/async", &json!({ "script": script, "args": [] }))
    }

    pub(crate) fn find(&self, selector: &str) -> Element {
        self.wait(selector, || self.find_all(selector).into_iter().next())
    }

    pub(crate) fn find_all(&self, selector: &str) -> Vec<Element> {
        let found = self.post("/elements", &json!({ "using": "css selector", "value": selector }));
        let id = |element: &Value| Element(element[ELEMENT].as_str().unwrap().to_owned());
        found.as_array().unwrap().iter().map(id).collect()
    }

    pub(crate) fn click(&self, selector: &str) {
        let element = self.find(selector);
        self.post(&format!("/element/{}/click", element.0), &json!({}));
    }

    pub(crate) fn type_into(&self, selector: &str, text: &str) {
        let element = self.find(selector);
        self.post(&format!("/element/{}/value", element.0), &json!({ "text": text }));
    }

    /// Presses keys wherever the focus is.
    pub(crate) fn press(&self, keys: &[&str]) {
        let down = keys.iter().map(|key| json!({ "type": "keyDown", "value": key }));
        let up = keys.iter().rev().map(|key| json!({ "type": "keyUp", "value": key }));
        let actions: Vec<Value> = down.chain(up).collect();
        let body = json!({ "actions": [{ "type": "key", "id": "keys", "actions": actions }] });
        self.post("/actions", &body);
    }

    /// Drags one element to a part of another one's width: 0 is its left end, 1 its right one.
    pub(crate) fn drag(&self, from: &str, to: &str, part: f64) {
        let places = "return arguments[0].map((selector, at) => {
            const box = document.querySelector(selector).getBoundingClientRect();
            return [box.left + box.width * (at ? arguments[1] : 0.5), box.top + box.height / 2];
        }).map((place) => place.map(Math.round))";
        let places = self.script(places, &[json!([from, to]), json!(part)]);
        let to = |place: &Value| json!({ "type": "pointerMove", "duration": 50, "x": place[0], "y": place[1] });
        let button = |kind: &str| json!({ "type": kind, "button": 0 });
        let actions = [to(&places[0]), button("pointerDown"), to(&places[1]), button("pointerUp")];
        let body = json!({ "actions": [{ "type": "pointer", "id": "mouse", "actions": actions }] });
        self.post("/actions", &body);
    }

    pub(crate) fn text(&self, selector: &str) -> String {
        self.ask(selector, "text").as_str().unwrap().to_owned()
    }

    pub(crate) fn attribute(&self, selector: &str, name: &str) -> Option<String> {
        self.ask(selector, &format!("attribute/{name}")).as_str().map(str::to_owned)
    }

    pub(crate) fn is_shown(&self, selector: &str) -> bool {
        !self.find_all(selector).is_empty() && self.ask(selector, "displayed") == json!(true)
    }

    /// What an element says of itself; the one of a new page where the page has gone between finding
    /// it and asking.
    fn ask(&self, selector: &str, what: &str) -> Value {
        self.wait(selector, || {
            let element = self.find(selector);
            match self.call("GET", &format!("/element/{}/{what}", element.0), None) {
                Err(error) if error.contains("stale element") => None,
                answer => Some(answer.unwrap()),
            }
        })
    }

    /// Waits until `condition` gives something.
    pub(crate) fn wait<T>(&self, what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
        let begun = Instant::now();
        loop {
            if let Some(value) = condition() {
                return value;
            }
            assert!(begun.elapsed() < PATIENCE, "waited in vain for {what}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub(crate) fn wait_until(&self, what: &str, mut condition: impl FnMut() -> bool) {
        self.wait(what, || condition().then_some(()));
    }

    /// Writes what the window shows to `target/screenshots/`.
    pub(crate) fn screenshot(&self, name: &str) {
        let folder = workspace().join("target/screenshots");
        std::fs::create_dir_all(&folder).unwrap();
        let image = self.call("GET", "/screenshot", None).unwrap();
        let bytes = base64(image.as_str().unwrap());
        std::fs::write(folder.join(format!("{name}.png")), bytes).unwrap();
    }

    /// Addresses of everything that the browser has asked for since the last call.
    pub(crate) fn requests(&self) -> Vec<String> {
        let entries = self.post("/se/log", &json!({ "type": "performance" }));
        let address = |entry: &Value| {
            let message: Value = serde_json::from_str(entry["message"].as_str()?).ok()?;
            let message = &message["message"];
            (message["method"] == "Network.requestWillBeSent")
                .then(|| message["params"]["request"]["url"].as_str().map(str::to_owned))?
        };
        entries.as_array().unwrap().iter().filter_map(address).collect()
    }

    /// Errors and warnings in the browser's console since the last call.
    pub(crate) fn complaints(&self) -> Vec<String> {
        let entries = self.post("/se/log", &json!({ "type": "browser" }));
        let entries = entries.as_array().unwrap().iter();
        entries
            .filter(|entry| entry["level"] == "SEVERE" || entry["level"] == "WARNING")
            .map(|entry| entry["message"].to_string())
            .collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The driver ends its browser with the session; then it is ended itself.
        drop(self.call("DELETE", "", None));
        drop(self.driver.kill());
        drop(self.driver.wait());
    }
}

fn capabilities(options: Options, profile: &Path) -> Value {
    let mut arguments = vec![
        "--headless=new".to_owned(),
        "--no-sandbox".to_owned(),
        "--disable-gpu".to_owned(),
        "--disable-dev-shm-usage".to_owned(),
        "--disable-background-networking".to_owned(),
        "--disable-component-update".to_owned(),
        "--disable-sync".to_owned(),
        "--no-first-run".to_owned(),
        "--window-size=1280,860".to_owned(),
        format!("--user-data-dir={}", profile.display()),
    ];
    if options.dark {
        arguments.push("--force-dark-mode".to_owned());
    }
    let javascript = if options.javascript { 1 } else { 2 };
    json!({ "capabilities": { "alwaysMatch": {
        "goog:loggingPrefs": { "performance": "ALL", "browser": "ALL" },
        "goog:chromeOptions": {
            "binary": CHROMIUM,
            "args": arguments,
            "prefs": {
                "intl.accept_languages": options.language,
                "profile.managed_default_content_settings.javascript": javascript,
            },
        },
    }}})
}

/// One call to the driver; the error's text if it fails.
fn request(method: &str, address: &str, body: Option<&Value>) -> Result<Value, String> {
    let agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(PATIENCE * 2))
        .build()
        .new_agent();
    let sent = match method {
        "GET" => agent.get(address).call(),
        "DELETE" => agent.delete(address).call(),
        _ => agent
            .post(address)
            .header("content-type", "application/json")
            .send(body.unwrap_or(&json!({})).to_string()),
    };
    let mut response = sent.map_err(|error| error.to_string())?;
    let text = response
        .body_mut()
        .with_config()
        .limit(64 << 20)
        .read_to_string()
        .map_err(|error| error.to_string())?;
    let answer: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    let value = answer["value"].clone();
    match value.get("error") {
        Some(error) if response.status() != 200 => Err(format!("{error}: {}", value["message"])),
        _ => Ok(value),
    }
}

/// Says why a test did not run, past the harness that hides what passing tests print.
pub(crate) fn skipped(why: &str) {
    writeln!(std::io::stderr(), "skipped: {why}").unwrap();
}

/// The root of the source tree.
pub(crate) fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn base64(text: &str) -> Vec<u8> {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut bytes = Vec::new();
    let (mut bits, mut count) = (0_u32, 0);
    for digit in text.bytes().filter_map(|c| DIGITS.iter().position(|&digit| digit == c)) {
        bits = bits << 6 | u32::try_from(digit).unwrap();
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push(u8::try_from(bits >> count & 0xff).unwrap());
        }
    }
    bytes
}
