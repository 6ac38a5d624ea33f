//! The Communications kept, found again by id and by identifier.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

/// Resources kept at once, in bytes, however few they are.
const MAX_BYTES: usize = 256 * 1024 * 1024;

/// The Communications kept, by id and by identifier. One lock, so that two conditional creates at once make one.
pub(super) struct Shelf {
    state: Mutex<Books>,
    room: usize,
}

#[derive(Default)]
struct Books {
    by_id: HashMap<String, Arc<Resource>>,
    /// `system|value` to id.
    by_identifier: HashMap<String, String>,
    order: VecDeque<String>,
    bytes: usize,
}

/// One stored resource.
pub(super) struct Resource {
    pub(super) id: String,
    /// `system|value` each.
    pub(super) identifiers: Vec<String>,
    pub(super) json: String,
}

impl Shelf {
    pub(super) fn new(room: usize) -> Self {
        Self { state: Mutex::default(), room }
    }

    /// The resource that matches, else the new one; true when it was created.
    pub(super) fn create(
        &self,
        condition: Option<&str>,
        make: impl FnOnce() -> Resource,
    ) -> (Arc<Resource>, bool) {
        let mut books = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = condition.and_then(|identifier| books.find(identifier)) {
            return (found, false);
        }
        let resource = Arc::new(make());
        books.bytes += resource.json.len();
        while !books.order.is_empty() && (books.order.len() >= self.room || books.bytes > MAX_BYTES) {
            books.drop_oldest();
        }
        for identifier in &resource.identifiers {
            books.by_identifier.insert(identifier.clone(), resource.id.clone());
        }
        books.order.push_back(resource.id.clone());
        books.by_id.insert(resource.id.clone(), Arc::clone(&resource));
        (resource, true)
    }

    pub(super) fn read(&self, id: &str) -> Option<Arc<Resource>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).by_id.get(id).cloned()
    }

    pub(super) fn find(&self, identifier: &str) -> Option<Arc<Resource>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).find(identifier)
    }
}

impl Books {
    fn find(&self, identifier: &str) -> Option<Arc<Resource>> {
        self.by_id.get(self.by_identifier.get(identifier)?).cloned()
    }

    fn drop_oldest(&mut self) {
        let Some(oldest) = self.order.pop_front().and_then(|id| self.by_id.remove(&id)) else { return };
        self.bytes -= oldest.json.len();
        for identifier in &oldest.identifiers {
            // A later resource may have taken the identifier over.
            if self.by_identifier.get(identifier) == Some(&oldest.id) {
                self.by_identifier.remove(identifier);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resource(id: &str, identifier: &str) -> Resource {
        Resource { id: id.to_owned(), identifiers: vec![identifier.to_owned()], json: "{}".to_owned() }
    }

    #[test]
    fn the_shelf_creates_once_and_forgets_the_oldest() {
        let shelf = Shelf::new(2);
        assert!(shelf.create(Some("s|1"), || resource("a", "s|1")).1);
        let (again, created) = shelf.create(Some("s|1"), || resource("b", "s|1"));
        assert_eq!((again.id.as_str(), created), ("a", false));
        // Unconditional creates are not deduplicated.
        assert!(shelf.create(None, || resource("c", "s|1")).1);
        assert!(shelf.create(Some("s|2"), || resource("d", "s|2")).1);
        assert!(shelf.read("a").is_none());
        assert!(shelf.find("s|2").is_some());
    }
}
