//! Whether a chat template can make a value that is exponentially large.
//!
//! Fuel bounds steps and the bytes of strings, but lists are shared: `[x, x]` costs two slots
//! however large `x` is, and sixty such steps make a value that no machine can print. So a template
//! is refused when it is read if a variable can come to hold two copies of its own earlier self, or
//! if a chain of assignments multiplies over [`COPIES_MAX`].
//!
//! For each assignment the copies of every variable in the assigned expression are counted. Among
//! variables that depend on each other in a circle, an assignment may hold one copy of one of them:
//! then a circle only ever adds. `s = s + x` passes, `s = s + s` and `s = t + s, t = s` do not.
//!
//! All variables of one name count as one, and all attributes of one name of all namespaces.
//!
//! Everything that the engine runs has to be walked, so nodes are taken apart without `..`: a field
//! that a new version of the engine adds does not compile until it is looked at.

use std::collections::{BTreeMap, BTreeSet};

use minijinja::machinery::ast::{
    AutoEscape, BinOp, BinOpKind, Call, CallArg, Compare, CompareOp, Expr, Filter, ForLoop,
    GetAttr, GetItem, IfCond, IfExpr, Macro, Map, Set, SetBlock, Slice, Stmt, Test, WithBlock,
};

/// How many copies of one value a chain of assignments may make.
const COPIES_MAX: u64 = 1 << 8;
/// Most spaces that `tojson` may indent by; it writes all of them at once.
const INDENT_MAX: i64 = 16;
/// How many variables a template may have; the most in a known template is 41.
const VARIABLES_MAX: usize = 256;

/// Copies of each variable in an expression.
type Copies = BTreeMap<String, u64>;

/// What an expression or a template does that is not supported.
type Refusal = String;

/// Checks a parsed template.
pub(crate) fn check(template: &Stmt<'_>) -> Result<(), Refusal> {
    let mut walk = Walk::default();
    walk.declarations(std::slice::from_ref(template));
    walk.statements(std::slice::from_ref(template))?;
    walk.check()
}

/// The assignments of a template.
#[derive(Default)]
struct Walk {
    /// Every assigned variable with the copies in one assignment each.
    assignments: Vec<(String, Copies)>,
    /// The parameters of each macro; macros are only called, by name.
    macros: BTreeMap<String, Vec<String>>,
    /// The variables that are namespaces; only their attributes are read and assigned.
    namespaces: BTreeSet<String>,
}

impl Walk {
    /// Notes all macros and namespaces, which may be used in places before their declaration.
    fn declarations(&mut self, statements: &[Stmt<'_>]) {
        for statement in statements {
            match statement {
                Stmt::Template(it) => self.declarations(&it.children),
                Stmt::ForLoop(it) => {
                    self.declarations(&it.body);
                    self.declarations(&it.else_body);
                }
                Stmt::IfCond(it) => {
                    self.declarations(&it.true_body);
                    self.declarations(&it.false_body);
                }
                Stmt::Macro(it) => {
                    // Two macros may share a name: a call assigns the parameters of both.
                    let names = it.args.iter().filter_map(variable).map(str::to_owned);
                    self.macros.entry(it.name.to_owned()).or_default().extend(names);
                    self.declarations(&it.body);
                }
                Stmt::SetBlock(it) => self.declarations(&it.body),
                Stmt::WithBlock(it) => self.declarations(&it.body),
                Stmt::AutoEscape(it) => self.declarations(&it.body),
                Stmt::Set(it) => {
                    if let (Some(name), Some(_)) = (variable(&it.target), new_namespace(&it.expr)) {
                        self.namespaces.insert(name.to_owned());
                    }
                }
                _ => {}
            }
        }
    }

    /// Walks statements; returns the copies of variables in what they write.
    fn statements(&mut self, statements: &[Stmt<'_>]) -> Result<Copies, Refusal> {
        let mut written = Copies::new();
        for statement in statements {
            add(&mut written, self.statement(statement)?);
        }
        Ok(written)
    }

    fn statement(&mut self, statement: &Stmt<'_>) -> Result<Copies, Refusal> {
        match statement {
            Stmt::Template(it) => self.statements(&it.children),
            Stmt::EmitExpr(it) => self.expression(&it.expr),
            Stmt::EmitRaw(_) | Stmt::Continue(_) | Stmt::Break(_) => Ok(Copies::new()),
            Stmt::ForLoop(it) => self.for_loop(it),
            Stmt::IfCond(it) => {
                let IfCond { expr, true_body, false_body } = &**it;
                self.expression(expr)?;
                let written = self.statements(true_body)?;
                Ok(either(written, self.statements(false_body)?))
            }
            Stmt::WithBlock(it) => {
                let WithBlock { assignments, body } = &**it;
                for (target, value) in assignments {
                    let copies = self.expression(value)?;
                    self.assign(target, &copies)?;
                }
                self.statements(body)
            }
            Stmt::Set(it) => {
                let Set { target, expr } = &**it;
                if let (Some(_), Some(call)) = (variable(target), new_namespace(expr)) {
                    return self.namespace(call).map(|()| Copies::new());
                }
                let copies = self.expression(expr)?;
                self.assign(target, &copies)?;
                Ok(Copies::new())
            }
            Stmt::SetBlock(it) => {
                let SetBlock { target, filter, body } = &**it;
                let mut copies = self.statements(body)?;
                if let Some(filter) = filter {
                    add(&mut copies, self.expression(filter)?);
                }
                self.assign(target, &copies)?;
                Ok(Copies::new())
            }
            Stmt::AutoEscape(it) => {
                let AutoEscape { enabled, body } = &**it;
                self.expression(enabled)?;
                self.statements(body)
            }
            Stmt::Macro(it) => self.declared_macro(it).map(|()| Copies::new()),
            Stmt::Do(it) => self.call(&it.call).map(|_| Copies::new()),
            Stmt::FilterBlock(_) => Err("a filter block".to_owned()),
            Stmt::CallBlock(_) => Err("a call block".to_owned()),
        }
    }

    fn for_loop(&mut self, it: &ForLoop<'_>) -> Result<Copies, Refusal> {
        let ForLoop { target, iter, filter_expr, recursive, body, else_body } = it;
        if *recursive {
            return Err("a recursive loop".to_owned());
        }
        let items = self.expression(iter)?;
        self.assign(target, &items)?;
        // `loop.nextitem` is one of the items.
        self.assign_variable("loop", &items)?;
        if let Some(filter) = filter_expr {
            self.expression(filter)?;
        }
        let mut written = self.statements(body)?;
        // A loop writes its body more than once.
        multiply(&mut written, 2);
        add(&mut written, self.statements(else_body)?);
        Ok(written)
    }

    fn declared_macro(&mut self, it: &Macro<'_>) -> Result<(), Refusal> {
        let Macro { name, args, defaults, body } = it;
        for target in args {
            self.assign(target, &Copies::new())?;
        }
        for (target, value) in args.iter().rev().zip(defaults.iter().rev()) {
            let copies = self.expression(value)?;
            self.assign(target, &copies)?;
        }
        let copies = self.statements(body)?;
        self.assignments.push((macro_name(name), copies));
        Ok(())
    }

    /// Notes that a variable, several, or an attribute become a value.
    fn assign(&mut self, target: &Expr<'_>, copies: &Copies) -> Result<(), Refusal> {
        match target {
            Expr::Var(it) => self.assign_variable(it.id, copies)?,
            Expr::GetAttr(it) if self.is_namespace(&it.expr) => {
                self.assignments.push((attribute(it.name), copies.clone()));
            }
            Expr::List(it) => it.items.iter().try_for_each(|item| self.assign(item, copies))?,
            Expr::Tuple(it) => it.items.iter().try_for_each(|item| self.assign(item, copies))?,
            _ => return Err("an assignment to an expression".to_owned()),
        }
        Ok(())
    }

    /// Notes that a variable becomes a value; a namespace would hide it.
    fn assign_variable(&mut self, name: &str, copies: &Copies) -> Result<(), Refusal> {
        if self.namespaces.contains(name) {
            return Err(format!("a namespace and another value of one name ({name})"));
        }
        self.assignments.push((name.to_owned(), copies.clone()));
        Ok(())
    }

    /// The copies of variables in the value of an expression.
    fn expression(&mut self, expression: &Expr<'_>) -> Result<Copies, Refusal> {
        match expression {
            Expr::Var(_) if self.is_namespace(expression) => {
                Err("a namespace as a value".to_owned())
            }
            Expr::Var(it) if self.macros.contains_key(it.id) || it.id == "namespace" => {
                Err("a macro or namespace as a value".to_owned())
            }
            Expr::Var(it) => Ok(Copies::from([(it.id.to_owned(), 1)])),
            Expr::Const(_) => Ok(Copies::new()),
            Expr::Slice(it) => {
                let Slice { expr, start, stop, step } = &**it;
                for bound in [start, stop, step].into_iter().flatten() {
                    self.expression(bound)?;
                }
                self.expression(expr)
            }
            Expr::UnaryOp(it) => self.expression(&it.expr).map(|_| Copies::new()),
            Expr::BinOp(it) => self.operation(it),
            Expr::Compare(it) => {
                let Compare { expr, ops } = &**it;
                self.expression(expr)?;
                for CompareOp { op: _, expr } in ops {
                    self.expression(expr)?;
                }
                Ok(Copies::new())
            }
            Expr::IfExpr(it) => {
                let IfExpr { test_expr, true_expr, false_expr } = &**it;
                self.expression(test_expr)?;
                let one = self.expression(true_expr)?;
                let other = false_expr.as_ref().map(|other| self.expression(other));
                Ok(either(one, other.transpose()?.unwrap_or_default()))
            }
            Expr::Filter(it) => self.filter(it),
            Expr::Test(it) => {
                let Test { name: _, expr, args } = &**it;
                self.expression(expr)?;
                self.arguments(args).map(|_| Copies::new())
            }
            Expr::GetAttr(it) => {
                let GetAttr { expr, name } = &**it;
                self.part(expr, Some(name))
            }
            Expr::GetItem(it) => {
                let GetItem { expr, subscript_expr } = &**it;
                self.expression(subscript_expr)?;
                let name = subscript_expr.as_const();
                self.part(expr, name.as_ref().and_then(|name| name.as_str()))
            }
            Expr::Call(it) => self.call(it),
            Expr::List(it) => self.items(&it.items),
            Expr::Tuple(it) => self.items(&it.items),
            Expr::Map(it) => {
                let Map { keys, values } = &**it;
                let keys = self.items(keys)?;
                Ok(sum(keys, self.items(values)?))
            }
        }
    }

    fn operation(&mut self, it: &BinOp<'_>) -> Result<Copies, Refusal> {
        let BinOp { op, left, right } = it;
        // A product of constants is worked out when the template is compiled, and nobody counts it.
        let multiplies = matches!(op, BinOpKind::Mul);
        let is_list = |side: &Expr<'_>| matches!(side, Expr::List(_) | Expr::Tuple(_));
        if multiplies && (is_list(left) || is_list(right)) {
            return Err("a list multiplied".to_owned());
        }
        let times = [left, right].map(|side| side.as_const().and_then(|value| value.as_i64()));
        if multiplies && times.iter().flatten().any(|n| n.unsigned_abs() > COPIES_MAX) {
            return Err(format!("a multiplication by more than {COPIES_MAX}"));
        }
        let (left, right) = (self.expression(left)?, self.expression(right)?);
        Ok(match op {
            BinOpKind::Add | BinOpKind::Concat => sum(left, right),
            BinOpKind::Mul => {
                let mut product = sum(left, right);
                // How often is known of constants only.
                let most = times.into_iter().flatten().max().map_or(COPIES_MAX, i64::unsigned_abs);
                multiply(&mut product, most.max(2));
                product
            }
            BinOpKind::ScAnd | BinOpKind::ScOr => either(left, right),
            BinOpKind::Eq
            | BinOpKind::Ne
            | BinOpKind::Lt
            | BinOpKind::Lte
            | BinOpKind::Gt
            | BinOpKind::Gte
            | BinOpKind::In
            | BinOpKind::Sub
            | BinOpKind::Div
            | BinOpKind::FloorDiv
            | BinOpKind::Rem
            | BinOpKind::Pow => Copies::new(),
        })
    }

    fn filter(&mut self, it: &Filter<'_>) -> Result<Copies, Refusal> {
        let Filter { name, expr, args } = it;
        if *name == "tojson" && !indents_little(args) {
            return Err(format!("tojson with an indent that may be more than {INDENT_MAX}"));
        }
        let value = expr.as_ref().map(|value| self.expression(value)).transpose()?;
        let mut arguments = self.arguments(args)?;
        // These write their arguments once for each item.
        if matches!(*name, "batch" | "slice" | "map") {
            multiply(&mut arguments, COPIES_MAX);
        }
        Ok(sum(value.unwrap_or_default(), arguments))
    }

    fn items(&mut self, items: &[Expr<'_>]) -> Result<Copies, Refusal> {
        let mut copies = Copies::new();
        for item in items {
            add(&mut copies, self.expression(item)?);
        }
        Ok(copies)
    }

    /// A part of a value: what an attribute of a namespace was assigned, or less than the whole.
    fn part(&mut self, whole: &Expr<'_>, name: Option<&str>) -> Result<Copies, Refusal> {
        match name {
            Some(name) if self.is_namespace(whole) => Ok(Copies::from([(attribute(name), 1)])),
            _ => self.expression(whole),
        }
    }

    fn is_namespace(&self, expression: &Expr<'_>) -> bool {
        variable(expression).is_some_and(|name| self.namespaces.contains(name))
    }

    fn arguments(&mut self, arguments: &[CallArg<'_>]) -> Result<Copies, Refusal> {
        let mut copies = Copies::new();
        for argument in arguments {
            let (CallArg::Pos(value)
            | CallArg::Kwarg(_, value)
            | CallArg::PosSplat(value)
            | CallArg::KwargSplat(value)) = argument;
            add(&mut copies, self.expression(value)?);
        }
        Ok(copies)
    }

    /// A call: of a macro, whose parameters become the arguments; of a method or a function, whose
    /// value may hold a copy of each argument.
    fn call(&mut self, call: &Call<'_>) -> Result<Copies, Refusal> {
        let Call { expr, args } = call;
        let arguments = self.arguments(args)?;
        match expr {
            Expr::Var(name) => match self.macros.get(name.id).cloned() {
                Some(parameters) => {
                    let assigned = parameters.into_iter().map(|name| (name, arguments.clone()));
                    self.assignments.extend(assigned);
                    Ok(Copies::from([(macro_name(name.id), 1)]))
                }
                None => Ok(sum(self.expression(expr)?, arguments)),
            },
            Expr::GetAttr(method) => Ok(sum(self.expression(&method.expr)?, arguments)),
            _ => Err("a call of an expression".to_owned()),
        }
    }

    /// A new namespace: its attributes become the arguments.
    fn namespace(&mut self, call: &Call<'_>) -> Result<(), Refusal> {
        for argument in &call.args {
            let CallArg::Kwarg(name, value) = argument else {
                return Err("a namespace of a map".to_owned());
            };
            let copies = self.expression(value)?;
            self.assignments.push((attribute(name), copies));
        }
        Ok(())
    }

    /// Looks for circles that multiply and for chains that multiply too much.
    fn check(&self) -> Result<(), Refusal> {
        let mut numbers: BTreeMap<&str, usize> = BTreeMap::new();
        for (target, copies) in &self.assignments {
            for name in std::iter::once(target).chain(copies.keys()) {
                let next = numbers.len();
                numbers.entry(name).or_insert(next);
            }
        }
        if numbers.len() > VARIABLES_MAX {
            return Err(format!("{} variables, more than {VARIABLES_MAX}", numbers.len()));
        }
        let reaches = self.reaches(&numbers);
        // The most copies of anything that each variable may hold, until nothing changes.
        let mut most = vec![1u64; numbers.len()];
        for _ in 0..numbers.len() {
            for (target, copies) in &self.assignments {
                let number = numbers[target.as_str()];
                let (mut circle, mut held, mut total) = (0u64, 0u64, 0u64);
                for (name, &times) in copies {
                    let source = numbers[name.as_str()];
                    if reaches[source][number] {
                        circle = circle.saturating_add(times);
                        held = held.max(most[source]);
                    } else {
                        total = total.saturating_add(times.saturating_mul(most[source]));
                    }
                }
                if circle > 1 {
                    return Err(format!("a variable that doubles itself ({target})"));
                }
                most[number] = most[number].max(total).max(held);
                if total > COPIES_MAX {
                    return Err(format!("a variable of over {COPIES_MAX} copies ({target})"));
                }
            }
        }
        Ok(())
    }

    /// `reaches[a][b]`: the value of `a` may depend on that of `b`, in any number of steps.
    fn reaches(&self, numbers: &BTreeMap<&str, usize>) -> Vec<Vec<bool>> {
        let mut reaches = vec![vec![false; numbers.len()]; numbers.len()];
        for (target, copies) in &self.assignments {
            for name in copies.keys() {
                reaches[numbers[target.as_str()]][numbers[name.as_str()]] = true;
            }
        }
        for through in 0..numbers.len() {
            let onward = reaches[through].clone();
            for row in reaches.iter_mut().filter(|row| row[through]) {
                row.iter_mut().zip(&onward).for_each(|(reached, &next)| *reached |= next);
            }
        }
        reaches
    }
}

/// The call, where an expression makes a new namespace.
fn new_namespace<'expression, 'source>(
    expression: &'expression Expr<'source>,
) -> Option<&'expression Call<'source>> {
    match expression {
        Expr::Call(call) if variable(&call.expr) == Some("namespace") => Some(call),
        _ => None,
    }
}

/// The name of a variable.
fn variable<'expression>(expression: &'expression Expr<'_>) -> Option<&'expression str> {
    match expression {
        Expr::Var(it) => Some(it.id),
        _ => None,
    }
}

/// The name under which the attributes of namespaces are counted.
fn attribute(name: &str) -> String {
    format!(".{name}")
}

/// The name under which what a macro writes is counted.
fn macro_name(name: &str) -> String {
    format!("{name}()")
}

/// As many of each.
fn multiply(copies: &mut Copies, times: u64) {
    copies.values_mut().for_each(|copies| *copies = copies.saturating_mul(times));
}

/// Both values in one.
fn sum(mut one: Copies, other: Copies) -> Copies {
    add(&mut one, other);
    one
}

fn add(copies: &mut Copies, other: Copies) {
    for (name, times) in other {
        let entry = copies.entry(name).or_default();
        *entry = entry.saturating_add(times);
    }
}

/// One value or the other.
fn either(mut one: Copies, other: Copies) -> Copies {
    for (name, times) in other {
        let entry = one.entry(name).or_default();
        *entry = times.max(*entry);
    }
    one
}

/// Whether every argument of `tojson` is a constant that indents little.
fn indents_little(args: &[CallArg<'_>]) -> bool {
    args.iter().all(|arg| match arg {
        CallArg::Pos(value) | CallArg::Kwarg(_, value) => value.as_const().is_some_and(|value| {
            value.as_i64().is_none_or(|indent| (0..=INDENT_MAX).contains(&indent))
        }),
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use minijinja::machinery::parse;

    use super::*;

    /// Checks a template of these tags.
    fn checked(tags: &[&str]) -> Result<(), Refusal> {
        let source: String = tags.iter().map(|tag| format!("{{% {tag} %}}")).collect();
        check(&parse(&source, "test", minijinja::syntax::SyntaxConfig::default()).expect("Jinja"))
    }

    /// Sets a variable to eight of the one before, from `a` on, times what ends the chain.
    fn chain(last: &str) -> Vec<String> {
        let four = |(to, from)| format!("set {to} = [{}]", [from; 4].join(", "));
        let mut tags = vec!["set a = x".to_owned()];
        tags.extend([("b", "a"), ("c", "b"), ("d", "c"), ("e", "d")].map(four));
        tags.push(format!("set f = {last}"));
        tags
    }

    #[test]
    fn circles_may_add_but_not_multiply() {
        for tags in [
            &["set s = s + x"][..],
            &["set s = x", "for a in x", "set s = s ~ loop.index", "endfor"],
            &["set s = t", "set t = s"],
            &["set s = s[1:] if s else x"],
            &["set s = x * 2", "set t = s * 3"],
            &["set n = namespace(i=0)", "set n.i = n.i + 1"],
            &["macro f(s)", "set t = s + s", "endmacro", "set u = f(x) + f(x)"],
        ] {
            assert_eq!(checked(tags), Ok(()), "{tags:?}");
        }
        for tags in [
            &["set s = s + s"][..],
            &["set s = t + s", "set t = s"],
            &["set s = [s, [s]]"],
            &["set s = s * 2"],
            &["set s = s * x"],
            &["set s = x|map('default', s)"],
            &["for a in s", "set s = [loop.previtem, a]", "endfor"],
            &["set s | replace(s, s)", "endset"],
            &["macro f(s)", "set t = f(s + s)", "endmacro"],
        ] {
            let refusal = checked(tags).expect_err(&format!("{tags:?}"));
            assert!(refusal.contains("doubles itself"), "{tags:?}: {refusal}");
        }
    }

    #[test]
    fn chains_may_make_so_many_copies_and_not_one_more() {
        let refusal = |last: &str| {
            let tags = chain(last);
            checked(&tags.iter().map(String::as_str).collect::<Vec<_>>()).err()
        };
        assert_eq!(COPIES_MAX, 4_u64.pow(4), "the four steps of the chain");
        assert_eq!(refusal("e"), None);
        let over = refusal("e + x").expect("one more");
        assert!(over.contains("over 256 copies (f)"), "{over}");
    }
}
